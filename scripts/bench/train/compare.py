"""Runs both sides in alternation on the same folders and prints a table and the RESULT line."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).parent


def floats_per_token(folder: Path, seq: int) -> tuple[float, float]:
    """Floating-point operations of training and of evaluation on one token: two for each weight of a matrix and each of the
    (causal: half the) products of attention, three times that with the way back. Embedding a token is none."""
    c = json.loads((folder / "config.json").read_text())
    h, f, layers, vocab = c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"], c["vocab_size"]
    d = c.get("head_dim") or h // c["num_attention_heads"]
    queries, keys = c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    matrices = layers * (2 * h * queries + 2 * h * keys + 3 * h * f) + vocab * h
    forward = 2 * matrices + layers * 2 * queries * seq
    return 3 * forward, forward


def run(command: list[str]) -> dict:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("ours")
    parser.add_argument("models", help="folder in which the models are made")
    parser.add_argument("--config", action="append", required=True, metavar="NAME=CONFIG.JSON,ROWS,SEQ,STEPS")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    extra = ["--device", args.device] + (["--threads", str(args.threads)] if args.threads else [])
    results = {}
    print(f"{'model':8} {'':12} {'train tok/s':>12} {'eval tok/s':>12} {'of peak':>8} {'loss':>9}")
    for spec in args.config:
        name, rest = spec.split("=", 1)
        config, rows, seq, steps = rest.split(",")
        folder = Path(args.models) / name
        if not (folder / "model.safetensors").exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            LlamaForCausalLM(LlamaConfig.from_json_file(config)).save_pretrained(folder)
        shape = [str(folder), "--rows", rows, "--seq", seq, "--steps", steps, *extra]
        ours, peer = [], []
        for _ in range(args.rounds):
            ours.append(run([args.ours, *shape]))
            peer.append(run([sys.executable, str(HERE / "peer.py"), *shape]))
        best = lambda side, key: max(one[key] for one in side)  # noqa: E731
        (train, evaluation), peak = floats_per_token(folder, int(seq)), best(ours, "peak_flops")
        results[name] = r = {
            "train": best(ours, "train") / best(peer, "train"),
            "eval": best(ours, "eval") / best(peer, "eval"),
            "peak": best(ours, "train") * train / peak,
        }
        tolerance = 1e-4 if args.device == "cpu" else 2e-2
        if abs(ours[0]["loss"] - peer[0]["loss"]) > tolerance * ours[0]["loss"]:
            sys.exit(f"{name}: our loss {ours[0]['loss']}, transformers' {peer[0]['loss']}")
        for label, side, share in (("ours", ours, r["peak"]), ("transformers", peer, best(peer, "train") * train / peak)):
            print(f"{name:8} {label:12} {best(side, 'train'):12.0f} {best(side, 'eval'):12.0f} {share:8.2f} {side[0]['loss']:9.4f}")
        print(f"{name:8} {'ratio':12} {r['train']:12.2f} {r['eval']:12.2f}     peak {peak / 1e9:.0f} GFLOP/s", flush=True)
    last = results[list(results)[-1]]
    line = f"RESULT train_vs_python={last['train']:.2f} eval_vs_python={last['eval']:.2f} train_vs_peak={last['peak']:.2f}"
    for name, r in list(results.items())[:-1]:
        line += f" {name}_train_vs_python={r['train']:.2f} {name}_eval_vs_python={r['eval']:.2f}"
    print(line)


main()
