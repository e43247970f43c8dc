// Asks for the status every two seconds and draws it. Every text goes through textContent: what strangers wrote stays text.
'use strict';

const EVERY = 2000;
const byId = id => document.getElementById(id);
const chart = new LossChart(byId('chart'));

// An element with these classes and children; strings become text.
function el(tag, classes, ...children) {
  const node = document.createElement(tag);
  if (classes) node.className = classes;
  node.append(...children.filter(child => child != null && child !== ''));
  return node;
}

const loss = value => value == null ? '–' : value.toFixed(3);
const percent = share => `${(100 * share).toFixed(share < 0.0995 && share > 0 ? 1 : 0)} %`;
const count = value => value.toLocaleString('en-GB');
const short = key => key ? `${key.slice(0, 8)}…` : '–';
const hash = value => el('span', 'mono', value ? value.slice(0, 8) : '–');
const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many || one + 's'}`;

function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  for (; n >= 1024 && unit < units.length - 1; unit++) n /= 1024;
  return `${n >= 100 || unit === 0 ? n.toFixed(0) : n.toFixed(1)} ${units[unit]}`;
}

function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86400).toFixed(1)} days`;
}

function tile(name, value, unit, below, bad) {
  return el('div', bad ? 'tile bad' : 'tile', el('span', '', name), el('b', '', value, unit ? el('small', '', ` ${unit}`) : null), el('i', '', below || '\u00a0'));
}

// A table: columns are [title, classes, row => child]; a note in its place while there are no rows.
function table(columns, rows, empty) {
  if (!rows.length) return el('p', 'empty', empty);
  const head = el('tr', '', ...columns.map(([title, classes]) => el('th', classes, title)));
  const body = rows.map(row => el('tr', '', ...columns.map(([title, classes, child]) => {
    const cell = el('td', classes, child(row));
    cell.dataset.label = title;
    return cell;
  })));
  return el('table', 'rows', el('thead', '', head), el('tbody', '', ...body));
}

function panel(title, small, content, wide) {
  return el('section', wide ? 'panel wide' : 'panel', el('h2', '', title, small ? el('small', '', ` ${small}`) : null), content);
}

// An enum of Rust: its variant's name and content.
const variant = value => typeof value === 'string' ? [value, null] : Object.entries(value)[0];

function weight(share) {
  const fill = el('i', '');
  fill.style.width = `${100 * share}%`;
  return el('span', 'weight', fill, percent(share));
}

function fate(last, now) {
  if (!last) return '–';
  const [kind, content] = variant(last.fate);
  const when = `${span((now - last.time) / 1000)} ago`;
  if (kind === 'accepted') return el('span', '', el('span', 'good', 'accepted'), ` × ${content}, ${when}`);
  if (kind === 'rejected') return el('span', '', 'refused', el('span', 'soft', `, ${when}`));
  const why = el('small', 'why', content.detail);
  return el('span', '', el('span', 'warn', content.reason), el('span', 'soft', `, ${when}`), el('br'), why);
}

function skips(counts) {
  const sorted = Object.entries(counts).sort((a, b) => b[1] - a[1]);
  return el('span', '', ...sorted.map(([reason, n]) => el('span', 'chip', `${reason} ${count(n)}`)));
}

function weightsTile(status) {
  const { weights, miners, evidence } = status.validator;
  const set = weights.last_update == null ? 'never set yet' : `set ${plural(Math.max(0, status.block - weights.last_update), 'block')} ago`;
  if (weights.refused) return tile('weights', 'refused', '', `${weights.refused.name}; ${set}`, true);
  if (weights.due_in == null) return tile('weights', 'not allowed', '', set, true);
  if (weights.due_in > 0) return tile('weights due in', count(weights.due_in), weights.due_in === 1 ? 'block' : 'blocks', set);
  if (miners.some(m => m.share > 0)) return tile('weights', 'due', '', set);
  const early = evidence && evidence.found < evidence.asked;
  const why = early ? `nobody is paid yet: evidence ${evidence.found.toFixed(1)} of ${evidence.asked.toFixed(1)}` : 'nobody has a score yet';
  return tile('weights', 'due', '', why);
}

function validatorParts(view) {
  const { status, now } = view;
  const v = status.validator;
  const seen = v.measured.filter(p => p.loss != null);
  const [first, last] = [seen[0], seen[seen.length - 1]];
  const skipped = Object.values(v.counts.skipped).reduce((a, b) => a + b, 0);
  const judged = v.counts.accepted + v.counts.rejected;
  const tiles = [
    tile('loss of the master', loss(last && last.loss), 'nats', first && last !== first ? `from ${loss(first.loss)} at master ${first.seq}` : 'on the run’s yardstick'),
    tile('master', v.master ? count(v.master.seq) : '–', '', v.master ? `${span((now - v.master.time) / 1000)} ago, ${v.leads ? 'leads' : 'follows'}` : ''),
    tile('accepted', count(v.counts.accepted), `of ${count(judged)}`, `${count(skipped)} passed over`),
    weightsTile(status),
    tile('model computes', percent(status.compute_share), 'of the time', `waits for pages ${percent(status.page_wait_share)}`),
  ];
  const miners = table([
    ['uid', 'n', m => m.uid],
    ['hotkey', 'mono', m => { const key = el('span', '', short(m.hotkey)); key.title = m.hotkey; return key; }],
    ['weight', 'n', m => weight(m.share)],
    ['local', 'n', m => loss(m.local_average)],
    ['global', 'n', m => loss(m.global_average)],
    ['premium', 'n', m => loss(m.premium && m.premium.mean)],
    ['last local', 'n soft', m => loss(m.local)],
    ['last global', 'n soft', m => loss(m.global)],
    ['accepted', 'n', m => `${m.accepted} of ${m.judged}`],
    ['last delta', 'span', m => fate(m.last, now)],
    ['passed over', 'span', m => Object.keys(m.skips).length ? skips(m.skips) : el('span', 'soft', '–')],
  ], [...v.miners].sort((a, b) => b.share - a.share || a.uid - b.uid), 'No miner has been met yet.');
  const lineage = table([
    ['master', 'n', s => s.seq],
    ['hash', 'mono', s => hash(s.hash)],
    ['of uid', 'n', s => s.uid],
    ['scale', 'n', s => s.scale],
    ['global loss', 'n', s => loss(s.global_loss)],
    ['block', 'n soft', s => s.block],
  ], v.lineage.slice(-12).reverse(), 'No delta has been accepted yet.');
  const reasons = Object.entries(v.counts.skipped).sort((a, b) => b[1] - a[1]);
  const passed = table([['reason', 'mono', r => r[0]], ['times', 'n', r => count(r[1])]], reasons, 'Nothing has been passed over.');
  return { tiles, title: 'Loss of the master', panels: [
    panel('Miners', `moving averages, ${v.miners.length} of ${v.neurons} neurons met`, miners, true),
    panel('Lineage', 'the newest steps', lineage),
    panel('Passed over', 'since the program began; one that repeats counts once', passed),
  ] };
}

function minerParts(view) {
  const { status, now } = view;
  const m = status.miner;
  const last = m.losses[m.losses.length - 1];
  const upload = m.uploaded[m.uploaded.length - 1];
  const taken = new Map(m.merged.map(merge => [merge.object, merge]));
  const tiles = [
    tile('training loss', loss(last && last.loss), 'nats', 'mean of the last epoch'),
    tile('speed', count(Math.round(m.tokens_per_second)), 'tokens/s', `computes ${percent(status.compute_share)}`),
    tile('steps', count(m.steps), '', `${count(m.unmerged_steps)} not merged yet`),
    tile('base master', m.base ? count(m.base.seq) : '–', '', m.base ? `taken ${span((now - m.base.time) / 1000)} ago` : ''),
    tile('uploads', count(m.uploads), bytes(m.uploaded_bytes), upload ? `last ${span((now - upload.time) / 1000)} ago` : 'none yet'),
    tile('merged', count(m.merges), '', m.merged.length ? `last into master ${m.merged[m.merged.length - 1].seq}` : 'none yet'),
  ];
  const uploads = table([
    ['when', '', u => `${span((now - u.time) / 1000)} ago`],
    ['block', 'n soft', u => u.block],
    ['base', 'n', u => u.base_seq],
    ['size', 'n', u => bytes(u.bytes)],
    ['took', 'n', u => span(u.millis / 1000)],
    ['delta', 'mono', u => hash(u.object)],
    ['became', '', u => taken.has(u.object) ? el('span', 'good', `master ${taken.get(u.object).seq}`) : el('span', 'soft', '–')],
  ], m.uploaded.slice(-12).reverse(), 'Nothing has been uploaded yet.');
  const merges = table([
    ['master', 'n', s => s.seq],
    ['block', 'n soft', s => s.block],
    ['scale', 'n', s => s.scale],
    ['global loss', 'n', s => loss(s.global_loss)],
    ['delta', 'mono', s => hash(s.object)],
  ], m.merged.slice(-12).reverse(), 'No master has taken a delta of this miner yet.');
  const said = table([
    ['validator', 'mono', j => `${j.uid == null ? '' : `${j.uid} `}${short(j.validator)}`],
    ['weight', 'n', j => j.weight == null ? '–' : weight(j.weight)],
    ['place', 'n', j => j.rank ? `${j.rank[0]} of ${j.rank[1]}` : '–'],
    ['local', 'n', j => loss(j.local)],
    ['global', 'n', j => loss(j.global)],
    ['premium', 'n', j => loss(j.premium && j.premium.mean)],
    ['accepted', 'n', j => `${j.accepted} of ${j.judged}`],
    ['last delta', 'span', j => j.trouble ? el('span', 'why warn', j.trouble) : fate(j.last, now)],
    ['passed over', 'span', j => Object.keys(j.skips).length ? skips(j.skips) : el('span', 'soft', '–')],
    ['blocks', 'n soft', j => `${j.from}–${j.to}`],
  ], m.judgements, 'No validator’s published log has been read yet.');
  return { tiles, title: 'Training loss', panels: [
    panel('What validators say', 'by their published logs', said, true),
    panel('Uploads', 'the newest', uploads),
    panel('Merged', `by ${short(m.leader)}`, merges),
  ] };
}

function live(view) {
  const { status, now, pulse } = view;
  const long = status.activities.filter(a => now - a.since > 3000);
  if (pulse && pulse.stalled) return ['bad', `stands still: ${pulse.doing} for ${span(pulse.silent_ms / 1000)}`];
  if (long.length) return ['ok', `${long[0].what}${long[0].bytes ? ` (${bytes(long[0].bytes)})` : ''}, ${span((now - long[0].since) / 1000)}`];
  return ['ok', pulse ? pulse.doing : 'running'];
}

function draw(view) {
  const { status, complaints, machine, now } = view;
  const about = status.about;
  const role = about.program.replace('bistro-', '');
  document.title = `Bistro ${role}${status.uid == null ? '' : ` uid ${status.uid}`}`;
  byId('program').textContent = role;
  byId('who').textContent = [
    about.network, about.netuid == null ? '' : `subnet ${about.netuid}`, status.uid == null ? '' : `uid ${status.uid}`,
    about.hotkey, `block ${count(status.block)}`, `up ${span((now - about.started) / 1000)}`,
  ].filter(Boolean).join(' · ');
  const [state, doing] = live(view);
  byId('live').className = `live ${state}`;
  byId('live').textContent = doing;

  const parts = status.validator ? validatorParts(view) : status.miner ? minerParts(view) : null;
  if (parts) {
    byId('tiles').replaceChildren(...parts.tiles);
    byId('chart-title').textContent = parts.title;
    byId('chart-note').textContent = chart.draw(status);
    byId('panels').replaceChildren(...parts.panels);
  }
  byId('complaints').hidden = !complaints.newest.length;
  byId('complaints').querySelector('ul').replaceChildren(...complaints.newest.slice(-10).reverse().map(c =>
    el('li', '', el('span', c.level === 'ERROR' ? 'bad' : 'warn', c.level.toLowerCase()), el('span', 'soft', ` ${span((now - c.time) / 1000)} ago  `), c.message)));
  byId('footer').textContent = [
    `${about.program} ${about.version}`, `libtorch ${about.libtorch}`, about.device, `bucket ${about.bucket}`,
    machine.resident ? `memory ${bytes(machine.resident)}` : '', machine.disk_free ? `disk free ${bytes(machine.disk_free)}` : '',
  ].filter(Boolean).join(' · ') + ' · ';
}

async function poll() {
  if (!document.hidden) {
    try {
      const answer = await fetch('/api/status', { signal: AbortSignal.timeout(8000) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      draw(await answer.json());
    } catch (error) {
      byId('live').className = 'live bad';
      byId('live').textContent = 'the program does not answer';
      console.warn(error);
    }
  }
  setTimeout(poll, EVERY);
}

poll();
