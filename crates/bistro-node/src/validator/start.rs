//! From nothing, or from a state file, to the first turn.

use bistro_core::events::Event;
use bistro_core::ids::Block;
use bistro_core::logline::Place;
use bistro_core::params::Params;
use bistro_core::ports::Metagraph;
use bistro_core::protocol::MasterManifest;
use bistro_core::rules::{Mechanism, Rules};
use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::Validator;
use super::snapshots::Snapshots;
use super::state::{self, State};
use crate::compute::Meter;
use crate::files::DataDir;
use crate::leader::{self, Leader};
use crate::log::published::Publisher;
use crate::log::{self, EventLog};
use crate::master::Master;
use crate::parts::patiently;
use crate::{Build, NodeError, Parts, publish, weights};

/// What an operator decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// The rules under which a new run begins; an existing run keeps its own, and these must agree with them.
    pub rules: Rules,
    /// Seed of the draws: whose turn, which pages. Secret until the log is published, or miners would know their pages.
    pub seed: [u8; 32],
    /// The program's version, for the log.
    pub version: String,
}

impl Validator {
    /// Commits the bucket, finds or begins the master, restores the state.
    pub(super) async fn start(parts: Parts, build: &dyn Build, options: Options) -> Result<Self, NodeError> {
        let data = DataDir::open(&parts.data_dir)?;
        let metagraph = register(&parts).await?;
        let log = open_log(&data, &parts).await?;
        let rules = options.rules;
        let digest = rules.digest();
        let found = find_master(&parts, &metagraph).await?;
        if let Some(leader) = found.as_ref().filter(|leader| leader.manifest.rules != digest) {
            return Err(NodeError::RulesDiffer(rules.differences(&leader.rules(&parts).await?)));
        }
        let pages = crate::parts::pages(&parts, build, &rules)?;
        let learner = crate::parts::learner(&parts, build, &rules)?;
        let spec = learner.spec();
        let (master, lineage) = match &found {
            Some(leader) => (leader.master(&parts, &spec, None).await?, leader.manifest.clone()),
            None => genesis(&parts, &rules, &metagraph, learner.params()?).await?,
        };
        let mut rng = ChaCha20Rng::from_seed(options.seed);
        let state = restore(&data, &log, &State::new(digest, &master, &mut rng), &rules.mechanism)?;
        let publisher = Publisher::new(&parts, &log);
        let snapshots = Snapshots::new(&parts);
        let (offers, receiver) = watch::channel(None);
        let setting = tokio::spawn(weights::submit(parts.clone(), receiver, log.clone()));
        let head = metagraph.block;
        let found =
            patiently(&parts, "looking for the leader", || leader::find_after(&lineage, &parts, &metagraph)).await?;
        let (slots, version) = (super::slots(&metagraph), options.version);
        let leads = leader::leads(&metagraph, &parts.identity.hotkey(), found.as_ref());
        tracing::info!(seq = master.seq, hash = master.hash.hash16(), parameters = spec.numel(), "validating");
        let (sender, glances) = mpsc::channel(super::glances::WAITING);
        let looking = AbortOnDropHandle::new(tokio::spawn(super::glances::look_around(parts.clone(), sender)));
        let mut validator = Self {
            glances,
            _looking_around: looking,
            meter: Meter::new(parts.clock.clone()),
            parts,
            rules: rules.into(),
            digest,
            spec: spec.into(),
            learner,
            pages,
            rng,
            data,
            log,
            publisher,
            snapshots,
            slots,
            state,
            master,
            lineage: lineage.into(),
            metagraph,
            offers,
            _setting: AbortOnDropHandle::new(setting),
            head,
            leads,
            skips: 0,
            fruitless_since: None,
            upcoming: None,
            ready: None,
            spare: None,
        };
        validator.begin_log(version)?;
        Ok(validator)
    }

    /// The first records of this life: where it starts, and what it knows.
    fn begin_log(&mut self, version: String) -> Result<(), NodeError> {
        let (master_seq, master) = (self.master.seq, self.master.hash);
        self.record(Event::Started { version, rules: self.digest, master_seq, master })?;
        // A merge that was published just before a crash counts.
        let own = self.lineage.hotkey == self.parts.identity.hotkey();
        let last = self.lineage.chain.last().filter(|_| own && self.state.master_seq < master_seq).cloned();
        if let Some(last) = last {
            let (object, global_loss) = (Some(last.object), Some(last.global_loss));
            self.record(Event::Published { seq: master_seq, hash: master, object, global_loss })?;
        }
        (self.state.master_seq, self.state.master) = (master_seq, master);
        self.record(self.log_checkpoint())?;
        // Without a state file, what the next records add to the scores would be lost with the first crash.
        self.log.sync()?;
        self.data.save(state::FILE, &self.state)
    }
}

/// The log; one that was lost goes on from what is published of it.
async fn open_log(data: &DataDir, parts: &Parts) -> Result<EventLog, NodeError> {
    let dir = data.join(log::FOLDER);
    let begun = dir.is_dir() && !log::segments::list(&dir)?.is_empty();
    let published = if begun { None } else { log::published::own_end(parts).await? };
    EventLog::open(&dir, parts, published.unwrap_or(Place::BEGIN))
}

/// The master to go on from: the leader's, or the own one of an earlier run (a validator that lost its permit meanwhile
/// must not begin anew).
async fn find_master(parts: &Parts, metagraph: &Metagraph) -> Result<Option<Leader>, NodeError> {
    let found = patiently(parts, "looking for the master", || leader::find(parts, metagraph)).await?;
    match found {
        Some(leader) => Ok(Some(leader)),
        None => Ok(patiently(parts, "reading the own master", || leader::read_own(parts)).await?),
    }
}

/// Commits the own bucket on the chain, if it is not there yet, and finds the own uid.
pub(crate) async fn register(parts: &Parts) -> Result<Metagraph, NodeError> {
    let metagraph = patiently(parts, "reading the metagraph", || parts.chain.metagraph()).await?;
    let hotkey = parts.identity.hotkey();
    if metagraph.neuron(&hotkey).is_none() {
        return Err(NodeError::NotRegistered { hotkey, netuid: parts.netuid });
    }
    let address = parts.own.address().to_string();
    patiently(parts, "committing the bucket", || parts.chain.commit(&address)).await?;
    Ok(metagraph)
}

/// Blocks for which a validator with less stake leaves the beginning of a run to those with more: 12 minutes on Bittensor's
/// networks. Without a bound, an idle validator with much stake would keep a run from ever beginning.
const PRECEDENCE_BLOCKS: u64 = 60;

/// The first master of a run: nobody has published one. The permitted validator with the most stake begins; if it does not,
/// so does whoever waits.
async fn genesis(
    parts: &Parts,
    rules: &Rules,
    metagraph: &Metagraph,
    params: Params,
) -> Result<(Master, MasterManifest), NodeError> {
    let me = parts.identity.hotkey();
    let first = metagraph.by_authority().first().map(|n| n.hotkey).filter(|first| *first != me);
    if let Some(first) = first {
        let until = Block(metagraph.block.0 + PRECEDENCE_BLOCKS);
        tracing::info!(%first, %until, "leaving the first master to the validator with the most stake");
        if let Some(leader) = wait_for_master(parts, Block(0), until).await? {
            if leader.manifest.rules != rules.digest() {
                return Err(NodeError::RulesDiffer(rules.differences(&leader.rules(parts).await?)));
            }
            let master = leader.master(parts, &params.spec(), None).await?;
            return Ok((master, leader.manifest));
        }
    }
    let master = Master::new(0, params);
    let manifest = publish::master(parts, rules, metagraph.block, &master, None, None).await?;
    tracing::info!(hash = master.hash.hash16(), "published the first master");
    Ok((master, manifest))
}

/// Blocks between two lines that say what is waited for.
const TOLD_EVERY: u64 = 25;

/// Waits until somebody has published a master; `None` if nobody has by block `until`.
pub(crate) async fn wait_for_master(
    parts: &Parts,
    mut block: Block,
    until: Block,
) -> Result<Option<Leader>, NodeError> {
    let mut told: Option<Block> = None;
    loop {
        let metagraph = patiently(parts, "reading the metagraph", || parts.chain.metagraph()).await?;
        let found = patiently(parts, "looking for the first master", || leader::find(parts, &metagraph)).await?;
        if let Some(leader) = found {
            return Ok(Some(leader));
        }
        if metagraph.block > until {
            return Ok(None);
        }
        if told.is_none_or(|told| metagraph.block.since(told) >= TOLD_EVERY) {
            tracing::info!(block = %metagraph.block, "no validator has published a master yet; waiting");
            told = Some(metagraph.block);
        }
        block = block.max(metagraph.block);
        block = patiently(parts, "waiting for a block", || parts.chain.next_block(block)).await?;
    }
}

/// The state file, or `fresh` without one, brought up to the log: what was written down before a crash and not saved counts.
fn restore(data: &DataDir, log: &EventLog, fresh: &State, rules: &Mechanism) -> Result<State, NodeError> {
    let mut state = match State::load(data)? {
        Some(state) if state.rules == fresh.rules => state,
        Some(_) => {
            tracing::warn!("the state file belongs to other rules; scores start anew");
            return Ok(State { log: log.next(), ..fresh.clone() });
        }
        None => return Ok(State { log: log.next(), ..fresh.clone() }),
    };
    // A state that came without a log (of the version before) has nothing to catch up on.
    for record in log.since(state.log)? {
        state.ledger.apply(rules, record.block, &record.event);
    }
    state.log = log.next();
    Ok(state)
}
