"""Loads a model folder with transformers and prints the loss on the tokens of `examples/export.rs`.

    cargo run -p bistro-model --example export /tmp/model && python crates/bistro-model/tests/reference/load.py /tmp/model
"""

import sys

import torch
from transformers import AutoModelForCausalLM

model, info = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32, output_loading_info=True)
assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
ids = torch.tensor([i * i * 31 % 50257 for i in range(256)]).view(2, 128)
print(f"{type(model).__name__} loss={model(ids, labels=ids).loss.item()}")
