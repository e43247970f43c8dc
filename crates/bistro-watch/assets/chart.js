// The loss over time, drawn by uPlot. Knows nothing of the rest of the page.
'use strict';

const LossChart = (() => {
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
  const number = value => value == null ? '–' : value.toFixed(3);
  const HEIGHT = 300;
  // uPlot draws points at whole device pixels: this is their diameter.
  const dots = (label, paint, filled) => ({
    label, stroke: paint, paths: () => null, value: (_, v) => number(v),
    points: { show: true, size: filled ? 8 : 6, stroke: paint, fill: filled ? paint : 'transparent', width: 1.4 },
  });
  const line = (label, paint, width, paths) => ({
    label, stroke: paint, width, paths, spanGaps: true, points: { show: false }, value: (_, v) => number(v),
  });

  // Validator: the yardstick as steps, verdicts as dots.
  const validator = {
    series: () => [
      line('master on the yardstick', colour('accent'), 2.2, uPlot.paths.stepped({ align: 1 })),
      dots('accepted', colour('good'), true),
      dots('refused', colour('quiet'), false),
    ],
    data(status) {
      const { measured, verdicts } = status.validator;
      const of = (points, keep) => {
        const kept = points.filter(p => p.loss != null && keep(p));
        return [kept.map(p => p.time / 1000), kept.map(p => p.loss)];
      };
      const accepted = of(verdicts, p => p.accepted);
      const refused = of(verdicts, p => !p.accepted);
      const yardstick = of(measured, () => true);
      // A poisoned delta may have any loss: the chart is for those around the master's.
      const near = [...yardstick[1], ...accepted[1]];
      const ceiling = near.length ? Math.max(...near) + 0.5 : Infinity;
      const inside = refused[1].map(loss => loss <= ceiling);
      const above = inside.filter(i => !i).length;
      const shown = refused.map(column => column.filter((_, i) => inside[i]));
      return { tables: [yardstick, accepted, shown], note: above ? `${above} refused lie above the chart` : '' };
    },
  };

  // Miner: each epoch, its average, and what was uploaded.
  const miner = {
    series: () => [
      line('epoch', colour('faint'), 1.2),
      line('average of ten', colour('accent'), 2.2),
      dots('uploaded', colour('quiet'), false),
      dots('merged', colour('good'), true),
    ],
    data(status) {
      const { losses, uploaded, merged } = status.miner;
      const points = losses.filter(p => p.loss != null);
      const times = points.map(p => p.time / 1000);
      const values = points.map(p => p.loss);
      const average = values.map((_, i) => {
        const window = values.slice(Math.max(0, i - 9), i + 1);
        return window.reduce((a, b) => a + b, 0) / window.length;
      });
      // An upload stands at the average of its time.
      const at = time => {
        let i = times.findIndex(t => t > time);
        i = i < 0 ? times.length : i;
        return average[Math.max(0, i - 1)];
      };
      const taken = new Set(merged.map(m => m.object));
      const marks = keep => {
        const kept = values.length ? uploaded.filter(keep) : [];
        return [kept.map(u => u.time / 1000), kept.map(u => at(u.time / 1000))];
      };
      return {
        tables: [[times, values], [times, average], marks(u => !taken.has(u.object)), marks(u => taken.has(u.object))],
        note: '',
      };
    },
  };

  class LossChart {
    constructor(node) {
      this.node = node;
      this.plot = null;
      new ResizeObserver(() => this.plot && this.plot.setSize(this.size())).observe(node);
      matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.drop());
    }

    size() {
      return { width: Math.max(240, this.node.clientWidth), height: this.node.clientWidth < 500 ? 240 : HEIGHT };
    }

    drop() {
      if (this.plot) this.plot.destroy();
      this.plot = null;
    }

    // Draws what the status holds; returns what there is to say about it.
    draw(status) {
      const kind = status.validator ? validator : miner;
      const { tables, note } = kind.data(status);
      const data = uPlot.join(tables);
      if (this.kind !== kind) this.drop();
      this.kind = kind;
      if (this.plot) {
        this.plot.setData(data);
        return note;
      }
      const axis = {
        stroke: colour('soft'), grid: { stroke: colour('line'), width: 1 }, ticks: { show: false },
        font: '12px system-ui, sans-serif',
      };
      this.plot = new uPlot({
        ...this.size(),
        padding: [10, 12, 0, 0],
        cursor: { points: { show: false }, drag: { x: true, y: false } },
        scales: { y: { range: (_, low, high) => low == null ? [0, 12] : uPlot.rangeNum(low, high, 0.08, true) } },
        axes: [
          { ...axis, values: [
            [86400, '{YYYY}-{MM}-{DD}', null, null, null, null, null, null, 1],
            [3600, '{HH}:{mm}', '\n{YYYY}-{MM}-{DD}', null, null, null, null, null, 1],
            [60, '{HH}:{mm}', '\n{YYYY}-{MM}-{DD}', null, null, null, null, null, 1],
            [1, '{HH}:{mm}:{ss}', '\n{YYYY}-{MM}-{DD}', null, null, null, null, null, 1],
          ] },
          { ...axis, size: 46, values: (_, ticks) => ticks.map(t => String(+t.toFixed(3))) },
        ],
        series: [{ label: 'time', value: (_, t) => t == null ? '–' : new Date(t * 1000).toLocaleTimeString() }, ...kind.series()],
        legend: { live: true },
      }, data, this.node);
      return note;
    }
  }
  return LossChart;
})();
