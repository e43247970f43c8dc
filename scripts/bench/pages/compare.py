"""Runs ours and the peers in alternation, prints the table and the RESULT line of pages.sh.

Arguments: our program, folder of the texts, GPT-2's table, an empty folder, rounds, pages a round.
"""

import json
import os
import pathlib
import random
import statistics
import subprocess
import sys

import numpy
import pyarrow
import pyarrow.parquet

ours, corpus, table, folder, rounds, pages = sys.argv[1:]
folder, rounds = pathlib.Path(folder), int(rounds)
ROWS_PER_PAGE, SEQ, CORE = "100", "2048", "0"
PEER = [sys.executable, str(pathlib.Path(__file__).with_name("peer.py"))]


def write_files():
    """The corpus as parquet files like FineWeb-Edu's: a text and other columns, 1000 rows a row group, snappy."""
    texts = [path.read_text() for path in sorted(pathlib.Path(corpus).glob("*.txt"))]
    rows = [text[i : i + 2500] for text in texts for i in range(0, len(text), 2500)]
    place = folder / "files" / "data" / "corpus"
    place.mkdir(parents=True)
    half = len(rows) // 2
    for number, part in enumerate([rows[:half], rows[half:]]):
        columns = {
            "text": part,
            "id": [f"<urn:uuid:{number}-{i:032x}>" for i in range(len(part))],
            "url": [f"https://example.org/{number}/{i * i}" for i in range(len(part))],
            "score": [random.random() * 5 for _ in part],
        }
        path = place / f"train-{number:05}-of-00002.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=1000, compression="snappy")
    return len(rows)


def run(command, firsts, out):
    """One process on one core."""
    arguments = ["taskset", "-c", CORE, *command, str(folder / "files"), str(firsts), ROWS_PER_PAGE, SEQ, str(out)]
    return json.loads(subprocess.run(arguments, check=True, stdout=subprocess.PIPE).stdout)


os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
random.seed(1)
rows = write_files()
clients = {"bistro": [ours], "tiktoken": [*PEER, "tiktoken", table], "tokenizers": [*PEER, "tokenizers", table]}
results = {name: [] for name in clients}
for number in range(rounds):
    firsts = folder / "firsts"
    firsts.write_text("\n".join(str(random.randrange(rows - 101)) for _ in range(int(pages))))
    ids = {}
    for name, command in clients.items():
        results[name].append(run(command, firsts, folder / name))
        ids[name] = numpy.fromfile(folder / name, dtype="<u4")
    for name, found in ids.items():
        assert numpy.array_equal(found, ids["bistro"]), f"{name} and ours give other ids in round {number}"

print(f"pages of {ROWS_PER_PAGE} rows in sequences of {SEQ}, one core; ids identical in all {rounds} rounds")
print(f"{'':12}{'pages/s':>10}{'tokens/s':>12}{'tokenizer':>14}")
median = {}
for name, runs in results.items():
    rate = statistics.median(one["pages"] / one["pages_seconds"] for one in runs)
    packed = statistics.median(one["packed"] / one["pages_seconds"] for one in runs)
    text = statistics.median(one["bytes"] / one["tokenize_seconds"] for one in runs) / 1e6
    median[name] = rate, text
    print(f"{name:12}{rate:10.1f}{packed / 1e6:10.2f} M{text:9.1f} MB/s")
peer = max(rate for name, (rate, _) in median.items() if name != "bistro")
print(f"RESULT pages_vs_python={median['bistro'][0] / peer:.2f} tokenize_mb_s={median['bistro'][1]:.1f}")
