"""Runs ours and the peers in alternation, prints the table and the RESULT line of chain.sh.

Arguments: our client, folder of the wallets of both chains, rounds, metagraphs a round, then the address of each chain by its neurons,
as 256=ws://… 4096=ws://….
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from websockets.sync.client import connect

ours, wallets, rounds, times = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
chains = dict(pair.split("=", 1) for pair in sys.argv[5:])
peer = [sys.executable, str(pathlib.Path(__file__).with_name("peer.py"))]
CLIENTS = {"bistro": [ours], "bittensor": [*peer, "sdk"], "substrate-interface": [*peer, "substrate"]}


def run(command, url, neurons, wallet):
    """One process: its own times and peak of memory, and the processor time that the system counted.

    The system's own peak (`ru_maxrss`) is no use: it begins with that of this program, which made the process.
    """
    arguments = [*command, url, "1", str(wallets / neurons), wallet, "default", times]
    # The SDK keeps what it read below HOME: each process is to read it anew.
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, env=os.environ | {"HOME": tempfile.mkdtemp(dir=wallets)})
    said = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, f"{arguments} failed"
    result = json.loads(said)
    assert result["neurons"] == int(neurons)
    result["cpu"] = usage.ru_utime + usage.ru_stime
    result["rss"] = result["peaks_kib"][-1] / 1024
    return result


# What the SDK asks for, and what ours does: the fields it wants, by their places.
ASKED = {"whole": ("get_metagraph", []), "wanted": ("get_selective_metagraph", [0, 8, 24, 25, 27, 46, 52, 57, 59, 69])}


def node_alone(url, what):
    """Seconds from asking the node for a metagraph to having its undecoded answer: what no client that asks so can save."""
    method, fields = ASKED[what]
    arguments = "0x0100" + (bytes([len(fields) * 4]).hex() + "".join(f"{n:02x}00" for n in fields) if fields else "")
    ask = {"id": 1, "jsonrpc": "2.0", "method": "state_call", "params": [f"SubnetInfoRuntimeApi_{method}", arguments]}
    seconds = []
    with connect(url, max_size=None) as socket:
        for _ in range(5):
            start = time.perf_counter()
            socket.send(json.dumps(ask))
            answer = socket.recv()
            seconds.append(time.perf_counter() - start)
    assert "result" in json.loads(answer), answer[:200]
    return statistics.median(seconds), len(answer)


median, node = {}, {}
for neurons, url in chains.items():
    results = {name: [] for name in CLIENTS}
    for _ in range(rounds):
        for name, command in CLIENTS.items():
            results[name].append(run(command, url, neurons, "ours" if name == "bistro" else "peer"))
    node[neurons] = {what: node_alone(url, what) for what in ASKED}
    said = [f"{seconds * 1e3:.1f} ms and {size / 1024:.0f} KiB for the {what}" for what, (seconds, size) in node[neurons].items()]
    print(f"{neurons} neurons; the node alone takes {' fields, '.join(said)} fields of a metagraph")
    print(f"{'':21}{'metagraph':>12}{'set_weights':>13}{'connect':>12}{'CPU':>10}{'memory':>12}")
    for name, runs in results.items():
        reads = statistics.median(t for one in runs for t in one["metagraph"])
        one = {key: statistics.median(r[key] for r in runs) for key in ("connect", "cpu", "rss")}
        median[name, neurons] = one | {"metagraph": reads, "peaks_kib": runs[-1]["peaks_kib"]}
        sets = [r["set_weights"] for r in runs if "set_weights" in r]
        set_ms = f"{statistics.median(sets) * 1e3:.1f} ms" if sets else "-"
        print(f"{name:21}{reads * 1e3:9.1f} ms{set_ms:>13}{one['connect'] * 1e3:9.1f} ms{one['cpu']:8.2f} s{one['rss']:8.1f} MiB")

largest = max(chains, key=int)
mine, sdk = median["bistro", largest], median["bittensor", largest]
peaks = [f"{kib / 1024:.1f}" for kib in mine["peaks_kib"]]
print(f"our memory at {largest} neurons: {peaks[0]} MiB at the start, {peaks[1]} connected, {peaks[2]} after metagraphs, {peaks[3]} at the end")
own = {"sdk": sdk["metagraph"] - node[largest]["whole"][0], "mine": mine["metagraph"] - node[largest]["wanted"][0]}
print(
    f"RESULT metagraph_vs_python={sdk['metagraph'] / mine['metagraph']:.2f} memory_vs_python={sdk['rss'] / mine['rss']:.2f} "
    f"without_node_vs_python={own['sdk'] / max(own['mine'], 1e-4):.2f}"
)
