//! Model folders: the same bits back, every form that `transformers` writes, and nothing that lies.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use bistro_model::hf::{self, ExportOptions, StoredAs};
use bistro_model::{LlamaConfig, init};
use common::tiny;

#[test]
fn a_model_folder_holds_the_same_bits() {
    for (tied, biased) in [(true, false), (false, true)] {
        let folder = tempfile::tempdir().unwrap();
        let config = LlamaConfig { tie_word_embeddings: tied, attention_bias: biased, mlp_bias: biased, ..tiny() };
        let params = init::weights(&config, 3);
        hf::export(folder.path(), &config, &params).unwrap();
        let (read, back) = hf::import(folder.path()).unwrap();
        assert_eq!((read, back.hash()), (config, params.hash()));
        let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["config.json", "model.safetensors"]);
    }
}

#[test]
fn a_model_in_several_files_and_shorter_numbers_is_read() {
    let params = init::weights(&tiny(), 3);
    for (stored_as, precision) in [(StoredAs::F32, 0.0), (StoredAs::Bf16, 4e-3), (StoredAs::F16, 5e-4)] {
        let folder = tempfile::tempdir().unwrap();
        let options = ExportOptions { stored_as, file_bytes: 20_000 };
        hf::export_with(folder.path(), &tiny(), &params, options).unwrap();
        assert!(folder.path().join("model.safetensors.index.json").exists());
        assert!(!folder.path().join("model.safetensors").exists());
        let (_, back) = hf::import(folder.path()).unwrap();
        for (name, tensor) in &params.tensors {
            for (a, b) in tensor.data.iter().zip(back.tensors[name].data.iter()) {
                assert!((a - b).abs() <= precision * a.abs().max(1e-4), "{name} as {stored_as:?}: {a} became {b}");
            }
        }
    }
}

#[test]
fn a_model_folder_that_lies_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    hf::export(folder.path(), &tiny(), &init::weights(&tiny(), 3)).unwrap();
    let wide = LlamaConfig { intermediate_size: 64, ..tiny() };
    std::fs::write(folder.path().join("config.json"), wide.to_json()).unwrap();
    assert!(hf::import(folder.path()).unwrap_err().to_string().contains("mlp."));
    let file = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    for cut in [0, 7, 100, bytes.len() - 1] {
        std::fs::write(&file, &bytes[..cut]).unwrap();
        assert!(hf::import(folder.path()).is_err(), "{cut} bytes passed");
    }
    // Far more bytes than the model has; a sparse file, refused unread.
    std::fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
    assert!(hf::import(folder.path()).unwrap_err().to_string().contains("more than"));
}

#[test]
fn an_index_leads_nowhere_else() {
    for name in ["../model.safetensors", "/etc/passwd", "a/b", "..", ""] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), tiny().to_json()).unwrap();
        let index = serde_json::json!({"weight_map": {"model.norm.weight": name}});
        std::fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        assert!(hf::import(folder.path()).unwrap_err().to_string().contains("plain file name"), "{name}");
    }
}
