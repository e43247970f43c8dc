//! Who is paid, and which delta is kept. Pure: block numbers, losses and random draws come in as arguments.
//!
//! - [`moving_average`]: the average that forgets by blocks, not by samples.
//! - [`credit`]: pay by improvement: what accepted deltas gained, paid once, decaying.
//! - [`work`]: pages that a miner was shown to have trained on.
//! - [`evidence`]: whether premiums tell who trained, and what is usual among those who did.
//! - [`pay`]: from all three, what each hotkey is paid.
//! - [`scores`]: averages and credit of each hotkey.
//! - [`weights`]: softmax of losses or shares of credit, and the chain's 16-bit scale.
//! - [`acceptance`]: whether a delta stays in the master: the README's rule, or the paired one.
//! - [`sketch`]: whether two deltas are nearly the same, without keeping either.
//! - [`selection`]: whose turn it is.

pub mod acceptance;
pub mod credit;
pub mod evidence;
pub mod moving_average;
pub mod pay;
pub mod scores;
pub mod selection;
pub mod sketch;
pub mod weights;
pub mod work;

pub use acceptance::{Acceptance, AcceptanceRules, Candidate, Verdict};
pub use credit::Change;
pub use evidence::Evidence;
pub use moving_average::MovingAverage;
pub use scores::{Observation, PayRules, Score, Scores, ScoringRules};
pub use sketch::Sketch;
pub use work::Shown;
