//! From nothing, or from saved work, to the first epoch.

use std::collections::BTreeSet;

use bistro_core::ids::{Block, Hash, Uid};
use bistro_core::params::{ModelSpec, Params};
use bistro_core::ports::{PortError, Retry};
use bistro_core::protocol::Encoding;
use bistro_core::rules::{Mechanism, Rules};
use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;

use super::Miner;
use super::state::{self, State};
use crate::compute::Meter;
use crate::files::DataDir;
use crate::leader::Leader;
use crate::master::Master;
use crate::status::miner::BaseStatus;
use crate::validator::start::{register, wait_for_master};
use crate::{Build, NodeError, Parts};

/// What an operator decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// The operator's own idea of the mechanism; refused if it differs from the run's.
    pub mechanism: Option<Mechanism>,
    /// How deltas are stored.
    pub encoding: Encoding,
    /// Sequences of one optimizer step.
    pub batch_rows: usize,
    /// Seed of the draws among the own pages.
    pub seed: [u8; 32],
}

impl Miner {
    /// Commits the bucket, takes the rules from the leader, and restores saved work or begins at the newest master.
    pub(super) async fn start(parts: Parts, build: &dyn Build, options: Options) -> Result<Self, NodeError> {
        let data = DataDir::open(&parts.data_dir)?;
        let metagraph = register(&parts).await?;
        let hotkey = parts.identity.hotkey();
        let uid = metagraph.neuron(&hotkey).ok_or(NodeError::NotRegistered { hotkey, netuid: parts.netuid })?.uid;
        let leader = tokio::select! {
            leader = wait_for_master(&parts, Block(0), Block(u64::MAX)) => leader?.ok_or_else(stopped)?,
            () = parts.stop.cancelled() => return Err(stopped().into()),
        };
        let (rules, digest) = (leader.rules(&parts).await?, leader.manifest.rules);
        if let Some(own) = options.mechanism.filter(|own| *own != rules.mechanism) {
            return Err(NodeError::RulesDiffer(Rules { mechanism: own, ..rules.clone() }.differences(&rules)));
        }
        if !rules.mechanism.deltas.encodings.contains(&options.encoding) {
            let allowed: Vec<_> = rules.mechanism.deltas.encodings.iter().map(|e| e.name()).collect();
            let ours =
                format!("--delta.encoding {} is not among the run's: {}", options.encoding.name(), allowed.join(", "));
            return Err(NodeError::RulesDiffer(vec![ours]));
        }
        let pages = crate::parts::pages(&parts, build, &rules)?;
        let mut learner = crate::parts::learner(&parts, build, &rules)?;
        let spec = learner.spec();
        let (base, model, state) = match restore(&data, digest, &spec)? {
            Some(saved) => saved,
            None => {
                let base = leader.master(&parts, &spec, None).await?;
                let state = fresh(digest, &base, metagraph.block);
                (base.clone(), base.params, state)
            }
        };
        learner.load(&model)?;
        show(&parts, uid, &leader, &base, &state);
        tracing::info!(base = base.seq, steps = state.steps, parameters = spec.numel(), "mining");
        Ok(Self {
            meter: Meter::new(parts.clock.clone()),
            parts,
            rules: rules.into(),
            digest,
            spec: spec.into(),
            learner,
            pages,
            data: data.into(),
            last_epoch: state.head,
            state,
            base,
            uid,
            rng: ChaCha20Rng::from_seed(options.seed),
            encoding: options.encoding,
            batch_rows: options.batch_rows.max(1),
            uploads: 0,
            drawn: None,
            leader: None,
            looking: None,
            sending: None,
            saving: None,
            base_saved: false,
        })
    }
}

/// Shows where the miner begins.
fn show(parts: &Parts, uid: Uid, leader: &Leader, base: &Master, state: &State) {
    let time = parts.clock.unix_millis();
    parts.board.change(|status| (status.uid, status.block) = (Some(uid), state.head));
    parts.board.miner(|miner| {
        miner.unmerged_steps = state.steps;
        miner.base = Some(BaseStatus { seq: base.seq, hash: base.hash, time });
        miner.followed(parts.identity.hotkey(), &leader.manifest);
    });
}

fn stopped() -> PortError {
    PortError { name: "Stopped".into(), message: "stopped while waiting for a master".into(), retry: Retry::Soon }
}

fn fresh(rules: Hash, base: &Master, head: Block) -> State {
    State {
        version: state::VERSION,
        rules,
        head,
        base_seq: base.seq,
        base: base.hash,
        model: base.hash,
        steps: 0,
        tokens: 0,
        pages: BTreeSet::new(),
        done: BTreeSet::new(),
    }
}

/// Base, model and state of an earlier run, if they are there, whole, and of the same rules; another version's are refused.
fn restore(data: &DataDir, digest: Hash, spec: &ModelSpec) -> Result<Option<(Master, Params, State)>, NodeError> {
    let Some(state) = data.load_version::<State>(state::FILE, state::VERSION)? else { return Ok(None) };
    if state.rules != digest {
        tracing::warn!("the saved work belongs to other rules; beginning at the newest master");
        return Ok(None);
    }
    let read = |name: &str, hash: Hash| -> Result<Option<Params>, NodeError> {
        let content = data.read(name)?.unwrap_or_default();
        Ok(bistro_delta::read_master(&content, spec, &hash).ok())
    };
    let (base, model) = (read(state::BASE_FILE, state.base)?, read(state::MODEL_FILE, state.model)?);
    if let (Some(params), Some(model)) = (base, model) {
        return Ok(Some((Master::known(state.base_seq, state.base, params), model, state)));
    }
    tracing::warn!(
        "the saved work is not whole (the program was ended while it saved); beginning at the newest master"
    );
    Ok(None)
}
