//! From nothing, or from a state file, to the first turn.

use bistro_core::events::Event;
use bistro_core::ids::Block;
use bistro_core::params::Params;
use bistro_core::ports::Metagraph;
use bistro_core::protocol::MasterManifest;
use bistro_core::rules::Rules;
use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Validator;
use super::state::{self, State};
use crate::compute::Meter;
use crate::files::DataDir;
use crate::leader::{self, Leader};
use crate::log::EventLog;
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
    pub(super) async fn start(
        parts: Parts,
        build: &dyn Build,
        options: Options,
        stop: CancellationToken,
    ) -> Result<Self, NodeError> {
        let data = DataDir::open(&parts.data_dir)?;
        let log = EventLog::open(&data.join("events.jsonl"), parts.clock.clone())?.shown_on(parts.board.clone());
        let metagraph = register(&parts).await?;
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
        let state = restore(&data, &State::new(digest, &master, &mut rng), &rules, &lineage)?;
        let version = options.version;
        let started = Event::Started { version, rules: digest, master_seq: master.seq, master: master.hash };
        log.append(metagraph.block, started)?;
        let (offers, receiver) = watch::channel(None);
        tokio::spawn(weights::submit(parts.clone(), receiver, log.clone(), stop.clone()));
        let head = metagraph.block;
        let found = leader::find(&parts, &metagraph).await?;
        let leads = super::leads(&metagraph, &parts.identity.hotkey(), found.as_ref());
        tracing::info!(seq = master.seq, hash = master.hash.hash16(), parameters = spec.numel(), "validating");
        let (sender, glances) = mpsc::channel(super::glances::WAITING);
        let looking = AbortOnDropHandle::new(tokio::spawn(super::glances::look_around(parts.clone(), sender)));
        Ok(Self {
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
            state,
            master,
            lineage: lineage.into(),
            metagraph,
            offers,
            stop,
            head,
            leads,
            skips: 0,
            upcoming: None,
        })
    }
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

/// Waits until somebody has published a master; `None` if nobody has by block `until`.
pub(crate) async fn wait_for_master(
    parts: &Parts,
    mut block: Block,
    until: Block,
) -> Result<Option<Leader>, NodeError> {
    loop {
        let metagraph = patiently(parts, "reading the metagraph", || parts.chain.metagraph()).await?;
        if let Some(leader) = leader::find(parts, &metagraph).await? {
            return Ok(Some(leader));
        }
        if metagraph.block > until {
            return Ok(None);
        }
        tracing::info!(block = %metagraph.block, "no validator has published a master yet; waiting");
        block = block.max(metagraph.block);
        block = patiently(parts, "waiting for a block", || parts.chain.next_block(block)).await?;
    }
}

/// The state file, or `fresh` without one, brought up to the published master: a merge that was published just before a
/// crash counts.
fn restore(data: &DataDir, fresh: &State, rules: &Rules, lineage: &MasterManifest) -> Result<State, NodeError> {
    let mut state = match data.load::<State>(state::FILE)? {
        Some(state) if state.version == state::VERSION && state.rules == fresh.rules => state,
        Some(_) => {
            tracing::warn!("the state file belongs to other rules; scores start anew");
            fresh.clone()
        }
        None => fresh.clone(),
    };
    if state.master_seq < fresh.master_seq
        && let Some(last) = lineage.chain.last()
    {
        state.acceptance.merged(&rules.mechanism.acceptance, last.global_loss);
    }
    (state.master_seq, state.master) = (fresh.master_seq, fresh.master);
    Ok(state)
}
