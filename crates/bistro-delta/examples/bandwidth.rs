//! How fast a delta of a 415 M-parameter master is added and taken out, against copying memory; `scripts/bench/delta.sh`
//! runs it. `cargo run --release -p bistro-delta --example bandwidth -- ROUNDS [FILE]` also writes the f32 delta to FILE,
//! for others to read.
#![allow(clippy::print_stdout, clippy::unwrap_used)] // its output is what it is for; nobody answers its errors

use std::time::Instant;

use bistro_core::ids::{Block, Hash, Hotkey, NetUid, Uid};
use bistro_core::params::{ModelSpec, Params, Tensor};
use bistro_core::protocol::Encoding;
use bistro_delta::{DeltaMeta, Packed, encode_delta, read};
use rayon::prelude::*;

/// Tensors of `config/models/small.json`: 415 million values.
fn spec() -> ModelSpec {
    let mut tensors: Vec<(String, Vec<usize>)> = vec![
        ("model.embed_tokens.weight".into(), vec![50257, 2040]),
        ("lm_head.weight".into(), vec![50257, 2040]),
        ("model.norm.weight".into(), vec![2040]),
    ];
    for layer in 0..6 {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        tensors.extend(["q", "k", "v", "o"].map(|p| (name(&format!("self_attn.{p}_proj")), vec![2040, 2040])));
        tensors.extend(["gate_proj", "up_proj"].map(|p| (name(&format!("mlp.{p}")), vec![3000, 2040])));
        tensors.push((name("mlp.down_proj"), vec![2040, 3000]));
        tensors.extend(["input_layernorm", "post_attention_layernorm"].map(|p| (name(p), vec![2040])));
    }
    ModelSpec { tensors: tensors.into_iter().collect() }
}

/// Noise of a delta's size, with a few loud rows.
fn noise(spec: &ModelSpec, size: f32) -> Params {
    let tensor = |shape: &Vec<usize>| {
        let mut values = vec![0.0; shape.iter().product()];
        values.par_chunks_mut(1 << 16).enumerate().for_each(|(part, values)| {
            let mut state = part as u32;
            for (i, value) in values.iter_mut().enumerate() {
                state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
                let loud = if i / 2040 % 16 == 0 { 8.0 } else { 1.0 };
                *value = ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * size * loud;
            }
        });
        Tensor::new(shape.clone(), values)
    };
    Params { tensors: spec.tensors.iter().map(|(name, shape)| (name.clone(), tensor(shape))).collect() }
}

/// The work measured, in the order of the table.
struct Work<'a> {
    name: &'a str,
    /// Bytes read and written for each value.
    bytes: f64,
    run: Box<dyn FnMut() + 'a>,
    best: f64,
}

impl<'a> Work<'a> {
    fn new(name: &'a str, bytes: f64, run: impl FnMut() + 'a) -> Self {
        Self { name, bytes, run: Box::new(run), best: f64::INFINITY }
    }

    fn time(&mut self) {
        let start = Instant::now();
        (self.run)();
        self.best = self.best.min(start.elapsed().as_secs_f64());
    }
}

fn copy(from: &Params, to: &mut Params, part: usize) {
    for (name, tensor) in &from.tensors {
        let out = to.to_overwrite(name, &tensor.shape);
        out.par_chunks_mut(part).zip(tensor.data.par_chunks(part)).for_each(|(out, data)| out.copy_from_slice(data));
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let rounds: usize = args.next().map_or(3, |rounds| rounds.parse().unwrap());
    let spec = spec();
    let numel = spec.numel() as f64;
    let (master, delta) = (noise(&spec, 0.02), noise(&spec, 1e-4));
    let meta = |encoding| {
        let (uid, hotkey, base) = (Uid(1), Hotkey([1; 32]), Hash([0; 32]));
        DeltaMeta { encoding, base, netuid: NetUid(1), uid, hotkey, block: Block(1) }
    };
    if let Some(file) = args.next() {
        std::fs::write(file, encode_delta(&delta, &meta(Encoding::F32))).unwrap();
    }
    let out = std::cell::RefCell::new(Params::zeros(&spec));
    let objects = [Encoding::Int8, Encoding::Int4, Encoding::Coarse].map(|e| {
        let start = Instant::now();
        let object = encode_delta(&delta, &meta(e));
        println!(
            "{} written in {:.2} s: {:.3} bits a value",
            e.name(),
            start.elapsed().as_secs_f64(),
            object.len() as f64 * 8.0 / numel
        );
        (e, object)
    });
    let packed = objects.each_ref().map(|(e, object)| Packed::read(object, &spec, &meta(*e)).unwrap());
    let size = |i: usize| objects[i].1.len() as f64 / numel;
    let mut work = [
        Work::new("copy, large pieces", 8.0, || copy(&master, &mut out.borrow_mut(), 1 << 24)),
        Work::new("copy, pieces of 256 KiB", 8.0, || copy(&master, &mut out.borrow_mut(), 1 << 16)),
        Work::new("add f32", 12.0, || master.plus_scaled_into(&delta, 0.5, &mut out.borrow_mut())),
        Work::new("take out", 8.0, || master.copy_into(&mut out.borrow_mut())),
        Work::new("add int8 as it came", 8.0 + size(0), || packed[0].add_into(&master, 0.5, &mut out.borrow_mut())),
        Work::new("add int4 as it came", 8.0 + size(1), || packed[1].add_into(&master, 0.5, &mut out.borrow_mut())),
        Work::new("add coarse as it came", 8.0 + size(2), || packed[2].add_into(&master, 0.5, &mut out.borrow_mut())),
        Work::new("hash (BLAKE3)", 4.0, || assert!(master.hash() != Hash([0; 32]))),
    ];
    for _ in 0..=rounds {
        work.iter_mut().for_each(Work::time);
    }
    let rate = |i: usize| work[i].bytes * numel / work[i].best / 1e9;
    let memcpy = rate(0).max(rate(1));
    println!("\n{numel} values, {} threads, best of {}", rayon::current_num_threads(), rounds + 1);
    println!("| | s | GB/s | of copying |\n|---|---|---|---|");
    for (i, w) in work.iter().enumerate() {
        println!("| {} | {:.3} | {:.1} | {:.2} |", w.name, w.best, rate(i), rate(i) / memcpy);
    }
    let times: Vec<f64> = work.iter().map(|w| w.best).collect();
    let shares = [2, 3, 4].map(|i| rate(i) / memcpy);
    drop(work);
    master.copy_into(&mut out.borrow_mut());
    assert_eq!(out.borrow().hash(), master.hash(), "taken out to the bit");
    // For the script, which compares them with Python's.
    println!("SECONDS add={:.4} take_out={:.4} int8={:.4} int4={:.4}", times[2], times[3], times[4], times[5]);
    println!(
        "SHARES apply_vs_memcpy={:.2} undo_vs_memcpy={:.2} decode_int8_vs_memcpy={:.2}",
        shares[0], shares[1], shares[2]
    );
    let object = encode_delta(&delta, &meta(Encoding::F32));
    drop((master, out, delta));
    let start = Instant::now();
    let read = read(&object, &spec, Encoding::F32).unwrap();
    println!("READ f32={:.4}", start.elapsed().as_secs_f64());
    drop(read);
}
