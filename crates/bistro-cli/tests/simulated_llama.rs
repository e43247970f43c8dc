//! The simulator with a real Llama on real text: `scripts/simulate.sh --model nano`, for a few blocks.
#![allow(clippy::unwrap_used)]

#[path = "../examples/simulate/llama.rs"]
mod llama;
#[path = "../examples/common/text.rs"]
mod text;

use std::path::Path;
use std::sync::Arc;

use bistro_model::LlamaConfig;
use bistro_sim::kinds::Kind;
use bistro_sim::subject::Subject;
use bistro_sim::{Scenario, run};

#[test]
fn a_real_model_learns_in_virtual_time_and_one_seed_decides_everything() {
    let text = tempfile::tempdir().unwrap();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    for file in ["architecture", "datasets", "deltas", "mechanism", "model", "protocol", "quickstart"] {
        fs_err::copy(docs.join(format!("{file}.md")), text.path().join(format!("{file}.txt"))).unwrap();
    }
    // `nano` at a quarter of its width: a third of the time.
    let nano = LlamaConfig::preset("nano").unwrap().to_json();
    let narrow = nano
        .replace("\"hidden_size\": 128", "\"hidden_size\": 32")
        .replace("\"intermediate_size\": 384", "\"intermediate_size\": 96");
    let narrow = LlamaConfig::from_json(&narrow).unwrap();
    assert_eq!(narrow.hidden_size, 32);
    let subject: Arc<dyn Subject> = Arc::new(llama::Llama::new(narrow, text.path()).unwrap());
    let scenario = Scenario {
        blocks: 10,
        validators: vec![1000],
        miners: vec![Kind::Honest, Kind::NotANumber, Kind::Copy, Kind::Exaggerate],
        ..Scenario::calm()
    };
    let outcome = run::with(&subject, &scenario, 1).unwrap();
    assert_eq!(outcome.broken, Vec::<String>::new());
    assert!((10.5..11.2).contains(&outcome.loss_start), "a new model knows nothing of 50257 tokens: {outcome:?}");
    assert!(outcome.loss_end < outcome.loss_start - 0.1, "{outcome:?}");
    let accepted = |kind: &str| outcome.neurons.iter().find(|n| n.kind == kind).unwrap().accepted;
    assert!(accepted("honest") + accepted("exaggerate") > 0 && accepted("not_a_number") == 0, "{outcome:?}");
    assert_eq!(run::with(&subject, &scenario, 1).unwrap(), outcome);
}
