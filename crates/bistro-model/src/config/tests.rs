//! What a `config.json` may say.

use super::*;

fn edited(edit: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Result<LlamaConfig, String> {
    let mut json = serde_json::to_value(LlamaConfig::preset("nano").unwrap()).unwrap();
    edit(json.as_object_mut().unwrap());
    LlamaConfig::from_json(&json.to_string()).map_err(|e| e.to_string())
}

#[test]
fn presets_have_the_sizes_they_are_known_for() {
    for (name, parameters) in [("135m", 135_151_488), ("small", 415_113_480), ("7b", 6_887_976_960)] {
        let config = LlamaConfig::preset(name).unwrap();
        assert_eq!(config.parameters(), Some(parameters), "{name}");
        assert_eq!(config.spec().numel(), parameters, "{name}");
    }
}

#[test]
fn the_count_and_the_list_of_tensors_agree() {
    for name in PRESETS {
        let whole = LlamaConfig::preset(name).unwrap();
        assert_eq!(whole.parameters(), Some(whole.spec().numel()), "{name}");
        let mut config = LlamaConfig::preset(name).unwrap();
        for tied in [true, false] {
            config.tie_word_embeddings = tied;
            config.num_key_value_heads = Some(1);
            config.head_dim = Some(50);
            (config.attention_bias, config.mlp_bias) = (tied, !tied);
            assert_eq!(config.parameters(), Some(config.spec().numel()));
        }
    }
}

#[test]
fn a_configuration_survives_its_text() {
    let nano = LlamaConfig::preset("nano").unwrap();
    assert_eq!(LlamaConfig::from_json(&nano.to_json()).unwrap(), nano);
    assert!(nano.to_json().contains("\"eos_token_id\": 50256"));
}

#[test]
fn rotary_positions_are_read_as_either_version_writes_them() {
    let rope = |kind: &str| serde_json::json!({"rope_type": kind, "rope_theta": 5e5});
    let five = edited(|json| {
        json.remove("rope_theta");
        json.insert("rope_parameters".into(), rope("default"));
    });
    assert_eq!(five.unwrap().rope_theta.to_bits(), 5e5_f64.to_bits());
    let error = edited(|json| drop(json.insert("rope_parameters".into(), rope("yarn")))).unwrap_err();
    assert!(error.contains("rope_parameters"), "{error}");

    let llama3 = serde_json::json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
    let four = edited(|json| drop(json.insert("rope_scaling".into(), llama3.clone()))).unwrap();
    let five = edited(|json| {
        let mut parameters = llama3.clone();
        parameters["rope_theta"] = 10_000.0.into();
        json.insert("rope_parameters".into(), parameters);
    });
    assert_eq!(four.rope_scaling.as_ref().unwrap().high_freq_factor, Some(4.0));
    assert_eq!(five.unwrap(), four);
    let error = edited(|json| {
        let mut half = llama3.clone();
        half.as_object_mut().unwrap().remove("low_freq_factor");
        json.insert("rope_scaling".into(), half);
    });
    assert!(error.unwrap_err().contains("low_freq_factor"));
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    for (key, value) in [
        ("rope_scaling", serde_json::json!({"rope_type": "yarn", "factor": 8.0})),
        ("rope_scaling", serde_json::json!({"rope_type": "linear", "factor": 0.5})),
        ("attention_dropout", 0.1.into()),
        ("hidden_act", "gelu".into()),
        ("model_type", "mistral".into()),
        ("sliding_window", 4096.into()),
        ("pretraining_tp", 2.into()),
        ("num_key_value_heads", 3.into()),
        ("num_key_value_heads", 0.into()),
        ("head_dim", 33.into()),
        ("rms_norm_eps", (-1.0).into()),
        ("rope_theta", 0.into()),
    ] {
        let error = edited(|json| drop(json.insert(key.into(), value))).unwrap_err();
        assert!(error.contains(key), "{key}: {error}");
    }
}

#[test]
fn hostile_sizes_are_refused_before_anything_is_allocated() {
    let max = u64::MAX;
    for (key, value) in [
        ("vocab_size", max),
        ("hidden_size", max),
        ("intermediate_size", 1 << 40),
        ("num_hidden_layers", 1 << 30),
        ("num_attention_heads", 0),
        ("max_position_embeddings", max),
        ("vocab_size", 0),
    ] {
        assert!(edited(|json| drop(json.insert(key.into(), value.into()))).is_err(), "{key} = {value} passed");
    }
    // Each side within its bound, the product not.
    let error = edited(|json| {
        json.insert("hidden_size".into(), (1 << 15).into());
        json.insert("head_dim".into(), 32.into());
        json.insert("vocab_size".into(), (1 << 20).into());
    });
    assert!(error.unwrap_err().contains("parameters"));
    assert!(LlamaConfig::from_json(&"[".repeat(60_000)).is_err());
    assert!(LlamaConfig::from_json(&" ".repeat(MAX_CONFIG_BYTES + 1)).is_err());
}
