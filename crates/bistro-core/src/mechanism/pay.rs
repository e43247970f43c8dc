//! What each hotkey is paid, where pay is by improvement: for the pages that it was shown to have trained on, and more or
//! less for a page as its gains are better or worse than is usual.
//!
//! Gains alone would be fairest if they could be measured. But a delta of a few pages gains little against what two pages
//! differ by, and the further a run is, the less: two miners who do the same would be paid by chance (docs/mechanism.md has
//! by how much). So gains count as far as they are [clear](super::credit::Credit::clearness), and premiums, which are, tell the work.
//!
//! The quality `q` of a hotkey's work is its credit for a shown page over the usual. Of it, `1` is known beforehand, give or
//! take `DIFFERENCES` `d`; and by its credit, give or take `1 / t`, where `t` is how clear a hotkey's gains usually are. The
//! mean of the two, weighted by the inverse squares of what they are uncertain by, is `1 - k + k · q` with
//! `k = d² · t² / (1 + d² · t²)`: what a normal prior and a normal error make of one measurement (Gelman et al., *Bayesian Data
//! Analysis*, 2.5).
//!
//! All that a hotkey is compared with is what is [usual](super::evidence) among those who are shown to train, so that neither
//! few of them nor many copiers can make it what they like. Where premiums are not clear after as many verdicts as would make them
//! so, credit alone is paid; before that, nobody is: who has gained by then may have copied.

use std::collections::BTreeMap;

use super::Evidence;
use super::evidence::{self, Now};
use super::scores::Score;
use crate::ids::Hotkey;

/// How much honest miners are thought to differ in what they make of a page: the standard deviation of their quality.
const DIFFERENCES: f64 = 0.5;

/// Clearness at which gains are harm without doubt: noise is beyond it once in fifty times.
const HARM: f64 = -2.0;

/// Pages a verdict that count, in the usual ones. A faster machine has more of them; and who states all there are
/// and is believed once, by luck, has not gained much.
const FASTEST: f64 = 4.0;

/// Belief that is taken for the usual at least. As premiums scatter, the simulator's honest miners have 0.2 to 0.5; much lower
/// is no measure.
const LEAST_BELIEF: f64 = 0.25;

/// Pay of all hotkeys that get any, in no particular unit; `page_cap` is the most that the quality may be. Without it, it is
/// their credit.
pub(super) fn pay(scores: &BTreeMap<Hotkey, Score>, half_life: f64, page_cap: Option<f64>) -> Vec<(Hotkey, f64)> {
    let all = standings(scores, half_life);
    let evidence = Evidence::of(scores, half_life);
    let paid = match page_cap {
        Some(cap) if evidence.is_clear() => by_page(&all, cap),
        Some(_) if evidence.is_early() => Vec::new(),
        _ => all.iter().map(|hotkey| (hotkey.hotkey, hotkey.credit)).collect(),
    };
    paid.into_iter().filter(|(_, pay)| *pay > 0.0).collect()
}

/// One hotkey as of now.
struct Standing {
    hotkey: Hotkey,
    /// Units.
    credit: f64,
    /// How clear they are.
    clearness: f64,
    /// Evidence that it trains.
    evidence: f64,
    /// Pages that it was shown to have trained on.
    pages: f64,
}

/// All hotkeys as of the newest verdict.
fn standings(scores: &BTreeMap<Hotkey, Score>, half_life: f64) -> Vec<Standing> {
    let now = Now::of(scores, half_life);
    let usual = evidence::usual(scores.values().map(|score| (score.work.belief(), now.evidence(score))));
    let usual = usual.unwrap_or_default().max(LEAST_BELIEF);
    let believed = |score: &Score| (score.work.belief() / usual).min(1.0) * score.work.stated();
    let a_verdict = scores.values().map(|score| (believed(score) / score.work.weight, now.evidence(score)));
    let most = evidence::usual(a_verdict.filter(|(pages, _)| *pages > 0.0)).unwrap_or_default() * FASTEST;
    let standing = |(hotkey, score): (&Hotkey, &Score)| Standing {
        hotkey: *hotkey,
        credit: score.credit.units() * now.left(score),
        clearness: score.credit.clearness(),
        evidence: now.evidence(score),
        pages: believed(score).min(most * score.work.weight) * now.left(score),
    };
    scores.iter().map(standing).collect()
}

/// Shown pages times quality.
fn by_page(all: &[Standing], cap: f64) -> Vec<(Hotkey, f64)> {
    let shown = || all.iter().filter(|hotkey| hotkey.pages > 0.0);
    let usual = |number: fn(&Standing) -> f64| {
        evidence::usual(shown().map(|hotkey| (number(hotkey), hotkey.evidence))).unwrap_or_default()
    };
    let clearness = usual(|hotkey| hotkey.clearness).max(0.0);
    let usual = usual(|hotkey| hotkey.credit / hotkey.pages);
    let told = (DIFFERENCES * clearness).powi(2);
    let told = told / (1.0 + told);
    let quality = |hotkey: &Standing| {
        let measured = (hotkey.credit / hotkey.pages / usual).min(cap);
        // Where gains are usually nothing there is nothing to measure by; nor is it clear then, and `told` is 0.
        if measured.is_finite() { 1.0 - told + told * measured } else { 1.0 }
    };
    let harmless = shown().filter(|hotkey| hotkey.clearness > HARM);
    harmless.map(|hotkey| (hotkey.hotkey, hotkey.pages * quality(hotkey))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Block;
    use crate::mechanism::credit::Credit;
    use crate::mechanism::work::Work;
    use crate::mechanism::{Observation, PayRules, Scores, ScoringRules, Shown};

    const PAY: PayRules = PayRules::Improvement { half_life: 100.0, proof_pages: 1, page_cap: Some(1.5) };

    fn rules() -> ScoringRules {
        ScoringRules { pay: PAY, ..crate::rules::tests::rules("recommended").mechanism.scoring }
    }

    /// What one miner's verdicts say: of each the gain and the premium, and pages stated anew with each.
    #[derive(Clone)]
    struct Miner<'a>(&'a [f64], &'a [f64], u64);

    /// One verdict on each in turn, all at one block; each delta is merged.
    fn scores(miners: &[Miner]) -> Scores {
        let mut scores = Scores::default();
        for round in 0..miners[0].0.len() {
            for (uid, miner) in (1..).zip(miners) {
                verdict(&mut scores, uid, miner, round, Block(5));
            }
        }
        scores
    }

    fn verdict(scores: &mut Scores, uid: u8, Miner(gains, premiums, pages): &Miner, round: usize, block: Block) {
        let (at, premium) = (round as u64, premiums[round % premiums.len()]);
        let shown = Some(Shown { premium, pages: (at * pages..(at + 1) * pages).collect() });
        let (hotkey, master_seq, gain) = (Hotkey([uid; 32]), 1 + at, gains[round]);
        let seen = Observation { hotkey, block, local: 6.0, global: 6.0, gain, master_seq, merged_by: 1 + at, shown };
        scores.observe(&rules(), &seen);
    }

    /// What each is paid, in what the first is.
    fn paid(miners: &[Miner]) -> Vec<f64> {
        in_the_firsts(&scores(miners), miners.len())
    }

    fn in_the_firsts(scores: &Scores, miners: usize) -> Vec<f64> {
        let pay: BTreeMap<_, _> = scores.pay(100.0, Some(1.5)).into_iter().collect();
        let of = |uid: usize| pay.get(&Hotkey([uid as u8; 32])).copied().unwrap_or_default();
        (1..=miners).map(|uid| of(uid) / of(1)).collect()
    }

    /// Within a twentieth: the going rate moves from verdict to verdict.
    fn near(paid: &[f64], expected: &[f64]) -> bool {
        paid.len() == expected.len() && paid.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 0.05 * b)
    }

    /// Gains that are all alike are as clear as can be: of six, `k` is 0.6.
    const CLEAR: [f64; 6] = [0.1; 6];
    const KNOWN: &[f64] = &[0.2];

    fn honest() -> Miner<'static> {
        Miner(&CLEAR, KNOWN, 10)
    }

    #[test]
    fn who_shows_no_work_is_not_paid_for_gains() {
        let lies = Miner(&[0.3; 6], &[0.0], 200);
        assert!(near(&paid(&[honest(), honest(), honest(), lies]), &[1.0, 1.0, 1.0, 0.0]));
    }

    /// The same gains with a tenth of the pages are ten times the quality, of which one and a half counts.
    #[test]
    fn a_page_is_paid_at_most_so_many_times_what_is_usual() {
        let expected = 0.1 * (0.4 + 0.6 * 1.5);
        assert!(near(&paid(&[honest(), honest(), honest(), Miner(&CLEAR, KNOWN, 1)]), &[1.0, 1.0, 1.0, expected]));
    }

    #[test]
    fn clear_gains_count_by_as_much_as_they_are_clear() {
        let worse = Miner(&[0.05; 6], KNOWN, 10);
        assert!(near(&paid(&[honest(), honest(), honest(), worse]), &[1.0, 1.0, 1.0, 0.4 + 0.6 * 0.5]));
        let twice_the_pages = Miner(&[0.2; 6], KNOWN, 20);
        assert!(near(&paid(&[honest(), honest(), honest(), twice_the_pages]), &[1.0, 1.0, 1.0, 2.0]));
    }

    /// A run in which gains are far below what pages differ by: whose sum happens to be larger is paid no more.
    #[test]
    fn gains_that_are_chance_pay_nobody_more_than_its_work() {
        let luck =
            [[0.3, -0.3, 0.2, -0.25, 0.3, -0.2], [0.2, -0.3, 0.25, -0.2, 0.3, -0.3], [0.3, -0.1, 0.2, 0.2, -0.2, 0.3]];
        let pay = paid(&[Miner(&luck[0], KNOWN, 10), Miner(&luck[1], KNOWN, 10), Miner(&luck[2], KNOWN, 5)]);
        assert!(pay.iter().zip([1.0, 1.0, 0.5]).all(|(paid, work)| (paid / work - 1.0).abs() < 0.2), "{pay:?}");
        // By gains alone the third had more than ten times the others' pay.
        let pay = scores(&[Miner(&luck[0], &[0.0], 0), Miner(&luck[1], &[0.0], 0), Miner(&luck[2], &[0.0], 0)])
            .pay(100.0, Some(1.5));
        assert!(pay.iter().map(|(_, pay)| pay).fold(0.0, |a, b| f64::max(a, *b)) > 0.5, "{pay:?}");
    }

    #[test]
    fn who_does_harm_without_doubt_is_not_paid_for_pages() {
        let gains = [0.1, -0.1, 0.1, -0.1, 0.1, -0.05];
        let unclear = Miner(&gains, KNOWN, 10);
        let pay = paid(&[unclear.clone(), unclear.clone(), unclear, Miner(&[-0.1; 6], KNOWN, 10)]);
        assert!(near(&pay, &[1.0, 1.0, 1.0, 0.0]), "{pay:?}");
    }

    #[test]
    fn harm_begins_at_its_bound() {
        // Four losses that are all alike lie exactly two root sums of squares below nothing; paid, these would get a quarter.
        let gains = Miner(&[0.125; 4], KNOWN, 10);
        let pay = paid(&[gains.clone(), gains.clone(), gains, Miner(&[-0.0625; 4], KNOWN, 10)]);
        assert!(near(&pay, &[1.0, 1.0, 1.0, 0.0]), "{pay:?}");
    }

    /// After a half-life without a verdict.
    #[test]
    fn old_work_is_paid_half() {
        let mut scores = scores(&[honest(), honest(), honest()]);
        for round in 0..CLEAR.len() {
            verdict(&mut scores, 4, &honest(), round, Block(105));
        }
        let pay = in_the_firsts(&scores, 4);
        assert!(near(&pay, &[1.0, 1.0, 1.0, 2.0]), "{pay:?}");
    }

    /// Premiums too low for what is stated, or none: neither hotkey is a measure of how fast others can be.
    #[test]
    fn who_is_not_believed_is_no_measure_of_how_fast_one_can_be() {
        let pay = paid(&[honest(), honest(), Miner(&CLEAR, &[0.05], 10), Miner(&CLEAR, &[-0.05], 10)]);
        assert!(near(&pay, &[1.0, 1.0, 0.0, 0.0]), "{pay:?}");
    }

    #[test]
    fn a_long_statement_that_is_believed_by_luck_counts_as_the_fastest_machine() {
        let pay = paid(&[honest(), honest(), honest(), Miner(&CLEAR, KNOWN, 200)]);
        assert!(pay[3] > 1.0 && pay[3] < 4.0, "{pay:?}");
    }

    #[test]
    fn whoever_learns_its_pages_by_heart_makes_others_no_less_believed() {
        assert!(near(&paid(&[honest(), honest(), honest(), Miner(&CLEAR, &[50.0], 10)]), &[1.0; 4]));
    }

    /// Premiums scatter, so that an honest miner is believed by half: that is what the others are measured by.
    #[test]
    fn who_is_believed_as_is_usual_is_paid_for_all_its_pages() {
        let scattered = Miner(&CLEAR, &[0.3, 0.1, 0.25, 0.15, 0.35, 0.05], 10);
        let sure = Miner(&CLEAR, &[0.4], 10);
        let pay = paid(&[scattered.clone(), scattered.clone(), scattered, sure]);
        assert!(pay.iter().all(|pay| (pay - 1.0).abs() < 0.1), "{pay:?}");
    }

    /// Neither for whether premiums are clear, nor for what is usually believed.
    #[test]
    fn hotkeys_that_state_nothing_are_no_measure() {
        let idle = || Miner(&[0.0; 6], KNOWN, 0);
        let half_believed = Miner(&CLEAR, &[0.2, 0.1], 10);
        let pay = paid(&[honest(), honest(), honest(), half_believed, idle(), idle(), idle(), idle(), idle()]);
        // Half of the pages, at the most that gains make of one.
        let half = 0.5 * (0.4 + 0.6 * 1.5);
        assert!(near(&pay, &[1.0, 1.0, 1.0, half, 0.0, 0.0, 0.0, 0.0, 0.0]), "{pay:?}");
    }

    /// Text so easy that no page is learned by more than others: what premiums there are is chance.
    #[test]
    fn where_premiums_are_noise_gains_are_paid() {
        let noise: [&[f64]; 3] = [&[0.2, -0.3, 0.1], &[-0.1, 0.2, -0.2], &[-0.2, -0.1, 0.3]];
        let pay = paid(&noise.map(|premiums| Miner(&[0.1; 12], premiums, 10)));
        assert!(near(&pay, &[1.0; 3]), "{pay:?}");
    }

    /// Three hotkeys: 8.4 of evidence is asked for, and 33 verdicts are waited for.
    #[test]
    fn nobody_is_paid_while_it_cannot_be_told_yet_who_trained() {
        let noise: [&[f64]; 3] = [&[0.2, -0.3, 0.1], &[-0.1, 0.2, -0.2], &[-0.2, -0.1, 0.3]];
        let early = scores(&noise.map(|premiums| Miner(&[0.1; 11], premiums, 10)));
        assert!(early.evidence(&rules()).unwrap().is_early() && early.pay(100.0, Some(1.5)).is_empty());
        let paid_by_gains = early.pay(100.0, None);
        assert_eq!(paid_by_gains.len(), 3, "where nobody asks for work there is nothing to wait for");
        let mut idle = scores(&noise.map(|premiums| Miner(&[0.1; 5], premiums, 10)));
        for round in 0..60 {
            verdict(&mut idle, 9, &Miner(&[0.0; 60], &[0.0], 0), round, Block(5));
        }
        assert!(idle.evidence(&rules()).unwrap().is_early(), "verdicts on who uploads nothing tell nothing");
        let clear = scores(&[KNOWN; 3].map(|premiums| Miner(&[0.1; 3], premiums, 10)));
        assert_eq!(clear.pay(100.0, Some(1.5)).len(), 3);
    }

    #[test]
    fn where_nobody_states_pages_gains_are_paid() {
        let pay = paid(&[Miner(&[0.1; 9], KNOWN, 0), Miner(&[0.05; 9], KNOWN, 0)]);
        assert!((0.45..0.6).contains(&pay[1]), "{pay:?}");
    }

    /// One who works among five copiers, whose premiums are noise.
    #[test]
    fn copiers_in_the_majority_are_not_paid() {
        let noise: [&[f64]; 3] = [&[0.1, -0.1, 0.05, -0.15], &[-0.1, 0.05, -0.05, 0.1], &[-0.05, -0.1, 0.15, 0.0]];
        let copiers = [0, 1, 2, 0, 1].map(|i| Miner(&[0.1; 20], noise[i], 200));
        let pay = paid(&[vec![Miner(&[0.1; 20], KNOWN, 10)], copiers.to_vec()].concat());
        assert!(near(&pay, &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]), "{pay:?}");
    }

    /// One that has evidence of work, as premiums were when it was judged, and is believed nothing.
    #[test]
    fn who_is_shown_no_pages_is_no_measure_of_those_who_are() {
        let score = |units: f64, belief: f64, evidence: f64| Score {
            credit: Credit { settled: units, settled_squares: units * units / 9.0, ..Credit::default() },
            work: Work { settled: 60.0, belief, signs: evidence.sqrt(), squares: 1.0, weight: 6.0, ..Work::default() },
            ..Score::default()
        };
        let scores = [(1, score(4.0, 4.0, 6.0)), (2, score(2.0, 4.0, 6.0)), (3, score(-2.0, -2.0, 12.0))];
        let scores = scores.map(|(uid, score)| (Hotkey([uid; 32]), score)).into();
        let paid: Vec<f64> = pay(&scores, 100.0, Some(1.5)).into_iter().map(|(_, pay)| pay).collect();
        // Clearness is 3, so that `k` is 9/13; the second is the measure.
        let expected = [1.0 - 9.0 / 13.0 + 1.5 * 9.0 / 13.0, 1.0].map(|quality| 60.0 * quality);
        assert!(near(&paid, &expected), "{paid:?}");
    }

    /// Two of three who work had bad luck and have no credit: that does not make those paid who do not work.
    #[test]
    fn who_has_no_credit_still_tells_whether_premiums_are_clear() {
        let unlucky = Miner(&[-0.1, 0.05, -0.1, 0.05, -0.1, 0.0], KNOWN, 10);
        let copier = Miner(&CLEAR, &[0.1, -0.1, 0.05, -0.1], 10);
        let pay = paid(&[honest(), unlucky.clone(), unlucky, copier]);
        assert!(pay[1] > 0.3 && pay[2] > 0.3 && pay[3] <= 0.0, "{pay:?}");
    }

    #[test]
    fn a_fault_does_not_wipe_out_that_one_is_not_believed() {
        let lies = Miner(&CLEAR, &[0.0], 200);
        let mut scores = scores(&[honest(), honest(), honest(), lies]);
        let hotkey = Hotkey([4; 32]);
        scores.fault(&rules(), &hotkey);
        // And now it is lucky, once.
        let shown = Some(Shown { premium: 0.5, pages: (1000..1200).collect() });
        let (block, gain) = (Block(12), 0.1);
        let seen = Observation { hotkey, block, local: 6.0, global: 6.0, gain, master_seq: 8, merged_by: 8, shown };
        scores.observe(&rules(), &seen);
        assert!(near(&in_the_firsts(&scores, 4), &[1.0, 1.0, 1.0, 0.0]));
    }
}
