"""`transformers` on one model folder: tokens a second of training and evaluation. Prints one JSON object, as our side does."""

import argparse
import json
import time

import torch
from transformers import LlamaForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--rows", type=int, required=True)
parser.add_argument("--seq", type=int, required=True)
parser.add_argument("--steps", type=int, default=3)
parser.add_argument("--threads", type=int)
parser.add_argument("--device", default="cpu")
parser.add_argument("--checkpointing", action="store_true")
args = parser.parse_args()
if args.threads:
    torch.set_num_threads(args.threads)
on_gpu = args.device != "cpu"
model = LlamaForCausalLM.from_pretrained(args.folder, dtype=torch.float32).to(args.device)
if on_gpu:
    torch.set_float32_matmul_precision("high")
if args.checkpointing:
    model.gradient_checkpointing_enable()
matrices = [p for p in model.parameters() if p.dim() > 1]
vectors = [p for p in model.parameters() if p.dim() == 1]
groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95), fused=True)
ids = torch.tensor([(i * i * 31 + i * 7) % model.config.vocab_size for i in range(args.rows * (args.seq + 1))])
ids = ids.view(args.rows, args.seq + 1).to(args.device)
inputs, targets = ids[:, :-1], ids[:, 1:].contiguous()


def loss():
    with torch.autocast(torch.device(args.device).type, torch.bfloat16, enabled=on_gpu):
        return model(inputs, labels=targets, shift_labels=targets).loss


def evaluate():
    with torch.inference_mode():
        return loss().item()


def train():
    optimizer.zero_grad()
    value = loss()
    value.backward()
    optimizer.step()
    return value.item()


def seconds(run):
    """The least time of all rounds."""
    best = float("inf")
    for _ in range(args.steps):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


model.eval()
first = evaluate()
eval_time = seconds(evaluate)
model.train()
train()
train_time = seconds(train)
tokens = inputs.numel()
print(json.dumps({"train": tokens / train_time, "eval": tokens / eval_time, "loss": first}))
