#!/usr/bin/env python3
"""Loads a master with `transformers`, as it was published, and prints its loss on a text.

    ./scripts/demo.sh --keep demo
    pip install torch transformers tiktoken
    python scripts/conformance/load_master.py demo/master corpus/sotu/*.txt

Fails if a weight is missing, left over, or of another shape.
"""

import sys
from pathlib import Path

import tiktoken
import torch
from transformers import AutoModelForCausalLM

TOKENS = 8192

folder, texts = sys.argv[1], [Path(p) for p in sys.argv[2:]]
model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
wrong = {k: v for k, v in info.items() if v}
assert not wrong, f"not a whole model: {wrong}"
seq = model.config.max_position_embeddings
ids = []
for text in texts:
    ids += tiktoken.get_encoding("gpt2").encode_ordinary(text.read_text())
    if len(ids) >= TOKENS:
        break
rows = torch.tensor(ids[: min(len(ids), TOKENS) // seq * seq]).view(-1, seq)
with torch.no_grad():
    loss = sum(model(r[None], labels=r[None]).loss.item() for r in rows) / len(rows)
print(f"{type(model).__name__}, {sum(p.numel() for p in model.parameters())} parameters, "
      f"loss {loss:.3f} nats a token on {rows.numel()} tokens")
