//! All checks at the same time, each within its deadline.

use std::time::Duration;

use bistro_core::ports::{Chain as _, Clock as _};
use bistro_core::rules::Rules;
use bistro_model::LlamaConfig;
use bistro_node::leader;
use tokio::time::timeout;

use super::subject::{Subject, World};
use super::{Outcome, Report, Verdict, bucket, chain, data, machine, release, wallet};
use crate::connect::SystemClock;
use crate::exit;
use crate::watch::HttpAddress;

/// How long a check may take at the start of a program: all of them run at the same time, and the whole takes no longer.
const AT_START: Duration = Duration::from_secs(8);
/// How long a check of `doctor` may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long trying everything in the bucket and uploading the probe may take.
const TRYING: Duration = Duration::from_mins(2);

type Found = Vec<(&'static str, Outcome)>;

/// Every check; `releases` is where a newer release is asked for, if at all.
pub async fn every(mut subject: Subject, releases: Option<&str>) -> Report {
    let world = Box::pin(World::open(&subject, PATIENCE)).await;
    let rules = timeout(PATIENCE, run_rules(&subject, &world)).await.ok().flatten();
    if subject.model.is_none() {
        subject.model = rules.as_ref().and_then(model);
    }
    let depth = Depth { patience: PATIENCE, quick: false };
    let (found, tried, dataset, release) = tokio::join!(
        common(&subject, &world, rules.as_ref(), depth),
        thoroughly(&subject, &world),
        depth.within("D15", data::dataset(&subject, rules.as_ref())),
        depth.within("D21", release::newer(releases)),
    );
    let memory = ("D18", blocking(&subject, |subject| machine::memory(&subject)).await);
    Report::of([found, tried, vec![dataset, memory, release]].concat())
}

/// The quick ones, over connections that exist. None is made twice, and nothing is written anywhere.
pub async fn quickly(subject: Subject, world: &World) -> Report {
    let depth = Depth { patience: AT_START, quick: true };
    let mut found = common(&subject, world, None, depth).await;
    found.push(("D15", data::dataset_is_there(&subject)));
    Report::of(found)
}

#[derive(Clone, Copy)]
struct Depth {
    patience: Duration,
    quick: bool,
}

impl Depth {
    async fn within(self, id: &'static str, check: impl Future<Output = Outcome>) -> (&'static str, Outcome) {
        let late = || {
            let says = format!("not known after {} s", self.patience.as_secs());
            if self.quick {
                return Outcome::skip(says);
            }
            Outcome::fail(says, "try again; is the line slow?").ending(exit::TEMPORARY)
        };
        (id, timeout(self.patience, check).await.unwrap_or_else(|_| late()))
    }
}

/// What `doctor` and every start look at.
async fn common(subject: &Subject, world: &World, rules: Option<&Rules>, depth: Depth) -> Found {
    // A program that starts binds its port itself, and says so where it cannot.
    let port = subject.common.watch.http.filter(|_| !depth.quick).map(|HttpAddress(address)| address);
    let local = async {
        let tokenizer = rules.cloned();
        let (device, tokenizer) = tokio::join!(
            depth.within("D17", blocking(subject, |subject| machine::device(&subject))),
            depth.within("D16", blocking(subject, move |subject| data::tokenizer(&subject, tokenizer.as_ref()))),
        );
        vec![
            ("D01", wallet::settings(subject)),
            ("D02", wallet::hotkey(subject, world)),
            ("D03", wallet::coldkey(world)),
            device,
            tokenizer,
            ("D19", machine::disk(subject, world)),
            ("D20", machine::limits(port)),
        ]
    };
    let reach = async {
        match &world.buckets {
            Ok(buckets) => depth.within("D11", bucket::reach(subject, buckets)).await,
            Err(why) => {
                let mend = format!("{} --bucket NAME (docs/operations/buckets.md)", subject.program());
                ("D11", Outcome::fail(why.clone(), mend))
            }
        }
    };
    let (mut found, on_chain, bucket) = tokio::join!(local, of_chain(subject, world, depth), reach);
    found.extend(on_chain);
    found.push(bucket);
    found
}

/// D04 to D10.
async fn of_chain(subject: &Subject, world: &World, depth: Depth) -> Found {
    let server = async {
        let buckets = world.buckets.as_ref().ok()?;
        timeout(depth.patience, bistro_storage::check::clock::server_time(&buckets.public, &buckets.address))
            .await
            .ok()?
    };
    let unknown = |why: &str| ["D06", "D07", "D08", "D09", "D10"].map(|id| (id, Outcome::skip(why)));
    let now = || SystemClock.unix_millis() / 1000;
    let (chain, hotkey) = match (&world.chain, &world.wallet) {
        (Ok(chain), Ok(wallet)) => (chain, wallet.hotkey().public()),
        (Ok(_), Err(_)) => {
            let clock = chain::clock(now(), server.await, None);
            let node = ("D05", Outcome::pass("it answers"));
            return [vec![("D04", clock), node], unknown("there is no hotkey to ask for").into()].concat();
        }
        (Err(error), _) => {
            let clock = chain::clock(now(), server.await, None);
            return [vec![("D04", clock), ("D05", chain::no_node(error))], unknown("there is no node").into()].concat();
        }
    };
    let bytes = subject.common.bucket.as_ref().map_or(0, String::len);
    let asked = async { tokio::join!(chain.survey(&hotkey, bytes), chain.metagraph(), chain.commitment(&hotkey)) };
    let (server, asked) = tokio::join!(server, timeout(depth.patience, asked));
    let (survey, metagraph, committed) = match asked {
        Ok((Ok(survey), metagraph, committed)) => (survey, metagraph, committed),
        Ok((Err(error), metagraph, _)) => {
            // Without the subnet there is nothing to survey.
            let found = vec![
                ("D04", chain::clock(now(), server, None)),
                ("D05", chain::no_node(&error)),
                ("D06", chain::subnet(subject, &metagraph)),
            ];
            return [found, unknown("the subnet could not be read")[1..].to_vec()].concat();
        }
        Err(_) => {
            let late = depth.within("D05", std::future::pending());
            return [vec![("D04", chain::clock(now(), server, None)), late.await], unknown("the node is slow").into()]
                .concat();
        }
    };
    let weights = match &metagraph {
        Ok(subnet) => chain::weights(subject, &hotkey, subnet, &survey),
        Err(_) => Outcome::skip("the subnet could not be read"),
    };
    let registration = match &metagraph {
        Ok(_) => chain::registration(subject, &hotkey, &survey),
        Err(_) => Outcome::skip("the subnet could not be read"),
    };
    let commitment = match &committed {
        Ok(committed) => chain::commitment(subject, committed.as_deref(), &survey),
        Err(error) => Outcome::skip(error.message.clone()),
    };
    vec![
        ("D04", chain::clock(now(), server, Some(&survey))),
        ("D05", chain::node(&survey, now())),
        ("D06", chain::subnet(subject, &metagraph)),
        ("D07", registration),
        ("D08", chain::immunity(&survey)),
        ("D09", weights),
        ("D10", commitment),
    ]
}

/// D12 to D14.
async fn thoroughly(subject: &Subject, world: &World) -> Found {
    let all = ["D12", "D13", "D14"];
    let Ok(buckets) = &world.buckets else { return all.map(|id| (id, Outcome::skip("there is no bucket"))).into() };
    match timeout(TRYING, Box::pin(bucket::try_all(subject, buckets))).await {
        Ok(found) => found,
        Err(_) => all
            .map(|id| {
                let says = format!("not done after {} s", TRYING.as_secs());
                (id, Outcome::fail(says, subject.bucket_line()).ending(exit::TEMPORARY))
            })
            .into(),
    }
}

/// The rules of the run, if there is one.
async fn run_rules(subject: &Subject, world: &World) -> Option<Rules> {
    let parts = world.parts(subject)?;
    let metagraph = parts.chain.metagraph().await.ok()?;
    let leader = leader::find(&parts, &metagraph).await.ok()??;
    leader.rules(&parts).await.ok()
}

fn model(rules: &Rules) -> Option<(LlamaConfig, usize)> {
    Some((LlamaConfig::from_json(&rules.model.to_string()).ok()?, rules.sequence_length))
}

async fn blocking(subject: &Subject, check: impl FnOnce(Subject) -> Outcome + Send + 'static) -> Outcome {
    let subject = subject.clone();
    let checking = tokio::task::spawn_blocking(move || check(subject)).await;
    checking.unwrap_or_else(|error| Outcome::fail(format!("the check itself ended: {error}"), "report it"))
}

/// Says what a program's start found, and whether it may begin: a warning where it is worse off, an end where it cannot work.
/// What may pass by itself is no reason to end: the loop is patient.
///
/// # Errors
/// The status to end with, and what for.
pub fn begin(program: &str, report: &Report) -> Result<(), exit::Ended> {
    let line = |check: &super::Check| {
        let Outcome { says, mend, .. } = &check.outcome;
        let mend = mend.as_ref().map(|mend| format!(" → {mend}")).unwrap_or_default();
        format!("{} {}: {says}{mend}", check.id, check.name)
    };
    let mut ends = Vec::new();
    for check in &report.checks {
        match check.outcome.verdict {
            Verdict::Fail if check.outcome.status != exit::TEMPORARY => ends.push((check.outcome.status, line(check))),
            Verdict::Fail | Verdict::Warn => tracing::warn!("{}", line(check)),
            Verdict::Skip => tracing::debug!("{}", line(check)),
            Verdict::Pass => {}
        }
    }
    let Some((status, first)) = ends.first().cloned() else {
        tracing::info!(passed = report.with(Verdict::Pass).count(), "checked; `{program} doctor` looks closer");
        return Ok(());
    };
    for (_, more) in &ends[1..] {
        tracing::error!("{more}");
    }
    Err(exit::Ended { status, message: first })
}
