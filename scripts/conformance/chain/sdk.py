"""The local chain as Bittensor's SDK meets it, nothing of it replaced. Arguments: the node's address, netuid, folder of the wallets."""

import asyncio
import json
import pathlib
import sys

from bittensor import client as sdk
from bittensor.metagraph import fetch

url, netuid, wallets = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
failed = []


def check(name, ok, seen):
    print(f"{'OK' if ok else 'FAIL':5}{name:14}{seen}")
    if not ok:
        failed.append(name)


def address(name):
    return json.loads((wallets / name / "hotkeys" / "default").read_text())["ss58Address"]


async def main():
    async with sdk.Client(url, fallback_endpoints=[], archive_endpoints=[]) as client:
        symbols = client.token_symbols
        check("connect", symbols == {netuid: "β"}, f"block {await client.block()}, symbols {symbols}")
        graph = await fetch(client, netuid)
        hotkeys = [neuron.hotkey for neuron in graph.neurons]
        check("metagraph", hotkeys == [address("validator"), address("miner-1")], graph)
        permits = [neuron.validator_permit for neuron in graph.neurons]
        check("permits", permits == [True, False], permits)
        stake = graph.neurons[0].total_stake
        check("stake", stake.rao == 1_000 * 10**9, stake)
        # check.py and check.mjs before this one committed in the miner's name.
        commitment = graph.neurons[1].commitment
        check("commitment", commitment is not None, commitment)


asyncio.run(main())
sys.exit(bool(failed))
