"""What pages.sh times of the peers: pages by pyarrow, tokenised and packed. One process, one line of JSON.

Arguments: `tiktoken` or `tokenizers`, GPT-2's table, then as our program: folder of parquet files, the pages' first rows, rows of a
page, tokens of a sequence, where to write the ids.
"""

import base64
import json
import pathlib
import sys
import time

import numpy
import pyarrow.parquet

peer, table, folder, firsts, rows_per_page, seq, out = sys.argv[1:]
rows_per_page, seq = int(rows_per_page), int(seq)
END_OF_TEXT = 50256
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in open(table, "rb"))}


def tiktoken_encode():
    import tiktoken

    encoding = tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": END_OF_TEXT})
    return lambda texts: [encoding.encode_ordinary(text) for text in texts]


def tokenizers_encode():
    from tokenizers import Tokenizer, models, pre_tokenizers

    # GPT-2's own spelling of bytes as characters.
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spelled = {byte: chr(byte) for byte in plain}
    spelled |= {byte: chr(256 + i) for i, byte in enumerate(b for b in range(256) if b not in spelled)}

    def spell(token):
        return "".join(spelled[byte] for byte in token)

    def halves(token):
        """The two tokens whose merge gives this one: what merging its bytes by lower ranks alone leaves."""
        parts = [bytes([byte]) for byte in token]
        while len(parts) > 2:
            pairs = [(ranks.get(a + b, END_OF_TEXT), i) for i, (a, b) in enumerate(zip(parts, parts[1:]))]
            _, i = min(pairs)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return spell(parts[0]), spell(parts[1])

    vocab = {spell(token): rank for token, rank in ranks.items()}
    merges = [halves(token) for token in sorted(ranks, key=ranks.get) if len(token) > 1]
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return lambda texts: [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


encode = {"tiktoken": tiktoken_encode, "tokenizers": tokenizers_encode}[peer]()
encode(["loads all tables"])
files = [pyarrow.parquet.ParquetFile(path) for path in sorted(pathlib.Path(folder).rglob("*.parquet"))]
wanted = [int(line) for line in pathlib.Path(firsts).read_text().splitlines()]


def texts_of(first):
    """The page's rows, from the row groups that it lies in, the text column alone."""
    texts, start = [], 0
    for file in files:
        for group in range(file.metadata.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            low, high = max(first - start, 0), min(first + rows_per_page - start, rows)
            if low < high:
                column = file.read_row_group(group, columns=["text"], use_threads=False).column("text")
                texts += column.slice(low, high - low).to_pylist()
            start += rows
    return texts


packed = []
started = time.perf_counter()
for first in wanted:
    ids = []
    for document in encode(texts_of(first)):
        ids += document
        ids.append(END_OF_TEXT)
    packed.append(numpy.array(ids[: len(ids) - len(ids) % seq], dtype="<u4"))
pages_seconds = time.perf_counter() - started
numpy.concatenate(packed).tofile(out)

texts = [text for first in wanted for text in texts_of(first)]
started = time.perf_counter()
tokens = sum(len(document) for document in encode(texts))
tokenize_seconds = time.perf_counter() - started
print(
    json.dumps(
        {
            "pages": len(wanted),
            "pages_seconds": pages_seconds,
            "packed": sum(len(page) for page in packed),
            "bytes": sum(len(text.encode()) for text in texts),
            "tokens": tokens,
            "tokenize_seconds": tokenize_seconds,
        }
    )
)
