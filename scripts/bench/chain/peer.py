"""What chain.sh times of the peers: connect, read the metagraph some times, set weights once. One process, one line of JSON.

Arguments: `sdk` (bittensor, whose metagraph is read without its commitments) or `substrate` (async-substrate-interface alone), then
the node's address, netuid, wallet folder, wallet, hotkey, metagraphs.
"""

import json
import pathlib
import sys
import time

peer, url, netuid, wallets, wallet, hotkey, times = sys.argv[1:]
netuid, times = int(netuid), int(times)
secret = json.loads((pathlib.Path(wallets) / wallet / "hotkeys" / hotkey).read_text())["secretPhrase"]
out = {"metagraph": []}


def timed(start):
    return time.perf_counter() - start


def peak():
    """The largest resident memory so far, KiB."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def substrate():
    from async_substrate_interface.sync_substrate import SubstrateInterface
    from bittensor_wallet import Keypair

    keypair = Keypair.create_from_mnemonic(secret)
    start = time.perf_counter()
    with SubstrateInterface(url=url) as node:
        node.init_runtime()
        out["connect"] = timed(start)
        for _ in range(times):
            start = time.perf_counter()
            graph = node.runtime_call("SubnetInfoRuntimeApi", "get_metagraph", [netuid])
            graph = getattr(graph, "value", graph)
            out["metagraph"].append(timed(start))
        count = out["neurons"] = len(graph["hotkeys"])
        start = time.perf_counter()
        params = {"netuid": netuid, "dests": list(range(count)), "weights": [65535] * count, "version_key": 0}
        call = node.compose_call("SubtensorModule", "set_weights", params)
        receipt = node.submit_extrinsic(node.create_signed_extrinsic(call=call, keypair=keypair), wait_for_inclusion=True)
        assert receipt.is_success, receipt.error_message
        out["set_weights"] = timed(start)


async def sdk():
    from bittensor import client as sdk_client
    from bittensor.metagraph import fetch

    start = time.perf_counter()
    async with sdk_client.Client(url, fallback_endpoints=[], archive_endpoints=[]) as client:
        out["connect"] = timed(start)
        for _ in range(times):
            start = time.perf_counter()
            graph = await fetch(client, netuid, commitments=False)
            out["metagraph"].append(timed(start))
        out["neurons"] = len(graph.hotkeys)


if peer == "sdk":
    import asyncio

    asyncio.run(sdk())
else:
    substrate()
out["peaks_kib"] = [peak()]
print(json.dumps(out))
