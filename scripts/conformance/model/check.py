"""Llamas of `transformers` against ours: the same folders give the same logits and losses, and what we write, it reads."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
BASE = dict(vocab_size=1009, hidden_size=96, intermediate_size=160, num_hidden_layers=3, num_attention_heads=6,
            max_position_embeddings=512)
CASES = {
    "tied": dict(num_key_value_heads=6, tie_word_embeddings=True),
    "untied": dict(num_key_value_heads=6, tie_word_embeddings=False),
    "grouped": dict(num_key_value_heads=2, tie_word_embeddings=True, rope_theta=500000.0),
    "one key head, wide heads": dict(num_key_value_heads=1, head_dim=32, tie_word_embeddings=False),
    "llama3 scaling": dict(num_key_value_heads=3, tie_word_embeddings=True, rope_scaling=LLAMA3),
    "linear scaling, biases": dict(num_key_value_heads=2, tie_word_embeddings=False, attention_bias=True, mlp_bias=True,
                                   rope_scaling=dict(rope_type="linear", factor=4.0)),
}
FORMS = {"float32": {}, "bfloat16": {}, "float16": {}, "float32 in many files": dict(max_shard_size="200KB")}
ROWS, SEQ = 4, 300


def ours(program: str, folder: Path, copy: Path, ids: torch.Tensor) -> dict:
    done = subprocess.run([program, str(folder), str(SEQ), str(copy)], input=json.dumps(ids.flatten().tolist()),
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{folder.name}: {done.stderr}")
    return json.loads(done.stdout)


def main() -> None:
    program, worst = sys.argv[1], 0.0
    torch.manual_seed(1)
    ids = torch.randint(BASE["vocab_size"], (ROWS, SEQ))
    with tempfile.TemporaryDirectory() as root, torch.no_grad():
        for case, sizes in CASES.items():
            for form, options in FORMS.items():
                model = LlamaForCausalLM(LlamaConfig(**BASE, **sizes, initializer_range=0.1))
                folder, copy = Path(root) / "theirs", Path(root) / "ours"
                model.to(getattr(torch, form.split()[0])).save_pretrained(folder, **options)
                model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
                logits = model(ids).logits
                loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).double(), ids[:, 1:].flatten())
                got = ours(program, folder, copy, ids)
                apart = (torch.tensor(got["logits"]).view(ROWS, -1) - logits[:, -1]).abs().max().item()
                back, info = AutoModelForCausalLM.from_pretrained(copy, dtype=torch.float32, output_loading_info=True)
                left = {k: v for k, v in info.items() if v}
                same = all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), back.state_dict().values()))
                ok = apart < 1e-4 and abs(got["loss"] - loss.item()) < 1e-4 and same and not left
                worst = max(worst, apart, abs(got["loss"] - loss.item()))
                print(f"{case:25} {form:22} logits within {apart:.1e}, loss {got['loss']:.6f} against {loss.item():.6f}, "
                      f"read back {'the same' if same and not left else f'OTHERWISE {left}'}")
                if not ok:
                    sys.exit(f"{case}, {form}: not the same model")
                for path in [*folder.iterdir(), *copy.iterdir()]:
                    path.unlink()
    print(f"all the same, within {worst:.1e}")


main()
