"""Makes the known answers beside this file with Hugging Face's transformers (made with torch 2.11.0, transformers 4.57.6).

    pip install torch transformers && python crates/bistro-model/tests/reference/make.py

Weights follow from a formula that the Rust test repeats, so that the files hold a few numbers each and no weights.
"""

import json
import math
from pathlib import Path

import torch
from transformers import Adafactor, LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).parent
ROWS, SEQ = 3, 24

CONFIGS = {
    "tied": dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=4, tie_word_embeddings=True, rope_theta=10000.0),
    "grouped": dict(hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=6,
                    num_key_value_heads=2, head_dim=8, tie_word_embeddings=False, rope_theta=500000.0),
    # Periods of the eight frequencies on both sides of 16 / 4 and 16 / 1, and between.
    "llama3": dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
                   num_key_value_heads=1, tie_word_embeddings=True, rope_theta=100.0,
                   rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                     original_max_position_embeddings=16)),
    "biased": dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                   num_key_value_heads=2, tie_word_embeddings=False, rope_theta=10000.0, attention_bias=True,
                   mlp_bias=True, rope_scaling=dict(rope_type="linear", factor=2.0)),
}


def fill(model: LlamaForCausalLM) -> None:
    """The k-th tensor in name order holds sin(0.37 i + k) / 10 at place i, and 1 more if it is a norm's."""
    named = dict(sorted((n, p) for n, p in model.named_parameters()))
    for k, (name, parameter) in enumerate(named.items()):
        values = [math.sin(0.37 * i + k) * 0.1 + (1.0 if "norm" in name else 0.0) for i in range(parameter.numel())]
        parameter.data = torch.tensor(values, dtype=torch.float64).float().view_as(parameter)


def adamw(model: LlamaForCausalLM) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), eps=1e-8)


def train(model: LlamaForCausalLM, ids: torch.Tensor, optimizer: torch.optim.Optimizer):
    """Losses of four steps, and the norms of the first one's gradients."""
    losses, gradients = [], {}
    for step in range(4):
        optimizer.zero_grad()
        loss = model(ids, labels=ids).loss
        losses.append(loss.item())
        loss.backward()
        if step == 0:
            gradients = {n: p.grad.norm().item() for n, p in sorted(model.named_parameters())}
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return losses, gradients


def main() -> None:
    for name, sizes in CONFIGS.items():
        config = LlamaConfig(vocab_size=101, max_position_embeddings=64, rms_norm_eps=1e-6, **sizes)
        config._attn_implementation = "eager"
        model = LlamaForCausalLM(config).float()
        fill(model)
        ids = torch.tensor([(i * i * 7 + 3 * i + 11) % 101 for i in range(ROWS * SEQ)]).view(ROWS, SEQ)
        logits = model(ids).logits
        losses, gradients = train(model, ids, adamw(model))
        fill(model)
        adafactor = Adafactor(model.parameters(), lr=1e-1, relative_step=False)
        adafactor_losses, _ = train(model, ids, adafactor)
        answer = {
            "config": {k: v for k, v in json.loads(config.to_json_string(use_diff=False)).items() if k in KEYS},
            "rows": ROWS, "seq": SEQ, "ids": ids.flatten().tolist(),
            "logits": [[r, t, v, logits[r, t, v].item()] for r in range(ROWS) for t in (0, 1, 11, SEQ - 1) for v in (0, 50, 100)],
            "losses": losses, "adafactor_losses": adafactor_losses, "gradient_norms": gradients,
        }
        (HERE / f"{name}.json").write_text(json.dumps(answer, indent=1) + "\n")


KEYS = {"model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "rms_norm_eps",
        "rope_theta", "rope_scaling", "tie_word_embeddings", "initializer_range", "attention_bias", "mlp_bias",
        "attention_dropout", "pretraining_tp"}

if __name__ == "__main__":
    main()
