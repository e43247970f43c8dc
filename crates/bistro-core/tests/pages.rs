//! Known answers of the page schedule, from numpy itself.
//!
//! `pages.json` was written by numpy 2.4.6 running the original's few lines over datasets made up for the purpose:
//! ```python
//! rng = np.random.default_rng(seed)
//! rng.bit_generator.advance(offset)
//! for _ in range(pages):
//!     config = int(rng.choice(len(rows)))
//!     row = int(rng.integers(0, rows[config] - 1 - 100))
//! ```
//! Among the datasets are one of a single config (numpy then spends no random bits on the choice), one whose smallest
//! configs leave a single row to start from, and one with so many rows that numpy rejects every second draw.
#![allow(clippy::unwrap_used)]

use bistro_core::ids::{Block, Uid};
use bistro_core::pages::schedule::{local_pages, page};
use bistro_core::pages::{Config, DatasetIndex, PageId, Window};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    datasets: Vec<Dataset>,
}

#[derive(Deserialize)]
struct Dataset {
    name: String,
    /// Rows of the configs `part-00`, `part-01`, …
    rows: Vec<u64>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    seed: u16,
    offset: u128,
    /// Number of the config, first row.
    pages: Vec<(usize, u64)>,
}

fn config_name(number: usize) -> String {
    format!("part-{number:02}")
}

impl Dataset {
    fn index(&self) -> DatasetIndex {
        let config =
            |(number, rows): (usize, &u64)| Config { name: config_name(number), split: "train".into(), rows: *rows };
        DatasetIndex {
            dataset: self.name.clone(),
            rows_per_page: 100,
            row_bytes: None,
            content: None,
            configs: self.rows.iter().enumerate().map(config).collect(),
        }
    }
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("pages.json")).unwrap()
}

#[test]
fn local_pages_are_numpys() {
    for dataset in fixture().datasets {
        let index = dataset.index();
        index.check().unwrap();
        assert!(dataset.cases.len() >= 20);
        for case in &dataset.cases {
            let page = |(config, row): &(usize, u64)| PageId {
                config: config_name(*config),
                split: "train".into(),
                row: *row,
            };
            let expected: Vec<_> = case.pages.iter().map(page).collect();
            let found = local_pages(&index, Uid(case.seed), case.offset, expected.len());
            assert_eq!(found, expected, "{}: seed {} offset {}", dataset.name, case.seed, case.offset);
        }
    }
}

#[test]
fn a_miner_trains_now_on_what_it_is_judged_on_later() {
    let index = fixture().datasets[0].index();
    let window = Window { pages: 100, pages_per_block: 4, look_ahead: 100 };
    let trained = window.trained(&index, Block(3_000_000), Uid(212));
    assert_eq!(trained, window.judged(&index, Block(3_000_025), Uid(212)));
    let slid = window.trained(&index, Block(3_000_001), Uid(212));
    assert_eq!(trained[4..], slid[..96]);
}

/// numpy draws nothing for a choice of one, so the pages of such a dataset pass twice as fast; the look-ahead still leads
/// exactly to what is judged later.
#[test]
fn a_dataset_of_one_config_slides_twice_as_fast() {
    let fixture = fixture();
    let index = fixture.datasets.iter().find(|dataset| dataset.rows.len() == 1).unwrap().index();
    let window = Window { pages: 100, pages_per_block: 4, look_ahead: 100 };
    let trained = window.trained(&index, Block(3_000_000), Uid(212));
    assert_eq!(trained, window.judged(&index, Block(3_000_025), Uid(212)));
    let slid = window.trained(&index, Block(3_000_001), Uid(212));
    assert_eq!(trained[8..], slid[..92]);
}

/// A page has one number, in whichever window it lies, so that it can be counted once.
#[test]
fn the_numbers_of_pages_are_those_of_the_windows() {
    let fixture = fixture();
    let one = fixture.datasets.iter().find(|dataset| dataset.rows.len() == 1).unwrap();
    for (dataset, slide) in [(&fixture.datasets[0], 4), (one, 8)] {
        let (index, uid) = (dataset.index(), Uid(212));
        let window = Window { pages: 100, pages_per_block: 4, look_ahead: 100 };
        for block in [Block(0), Block(3_000_000)] {
            let numbers = window.trained_numbers(&index, block);
            let pages: Vec<PageId> = numbers.clone().map(|number| page(&index, uid, number)).collect();
            assert_eq!(pages, window.trained(&index, block, uid), "{} at {block}", dataset.name);
            let next = window.trained_numbers(&index, Block(block.0 + 1));
            assert_eq!((next.start - numbers.start, next.end - numbers.end), (slide, slide));
            let claimable = window.claimable(&index, block);
            assert_eq!(claimable.end, numbers.end);
            // Four windows behind the judged one, which is one look-ahead behind.
            let behind = 400 + 100 * slide / 4;
            assert_eq!(claimable.start, numbers.start.saturating_sub(behind));
        }
    }
}

/// The vectors that other parts of the project were given, where they lie beside the repository.
#[test]
fn local_pages_equal_the_shared_vectors_where_present() {
    #[derive(Deserialize)]
    struct Shared {
        configs: Vec<(String, u64, String)>,
        cases: Vec<SharedCase>,
    }
    #[derive(Deserialize)]
    struct SharedCase {
        seed: u16,
        offset: u128,
        pages: Vec<(String, u64, String)>,
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/page_vectors.json");
    let Ok(json) = std::fs::read(path) else { return };
    let shared: Shared = serde_json::from_slice(&json).unwrap();
    let config = |(name, rows, split)| Config { name, split, rows };
    let index = DatasetIndex {
        dataset: "shared".into(),
        rows_per_page: 100,
        row_bytes: None,
        content: None,
        configs: shared.configs.into_iter().map(config).collect(),
    };
    assert_eq!(shared.cases.len(), 25);
    for case in shared.cases {
        let expected: Vec<_> =
            case.pages.into_iter().map(|(config, row, split)| PageId { config, split, row }).collect();
        let found = local_pages(&index, Uid(case.seed), case.offset, expected.len());
        assert_eq!(found, expected, "seed {} offset {}", case.seed, case.offset);
    }
}
