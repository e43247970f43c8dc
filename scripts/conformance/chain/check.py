"""The local chain as Bittensor's Python client meets it. Arguments: the node's address, netuid, folder of the wallets."""

import json
import pathlib
import sys

from async_substrate_interface.errors import SubstrateRequestException
from async_substrate_interface.sync_substrate import SubstrateInterface
from bittensor_wallet import Keypair

url, netuid, wallets = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
failed = []


def check(name, ok, seen):
    print(f"{'OK' if ok else 'FAIL':5}{name:14}{seen}")
    if not ok:
        failed.append(name)


def value(answer):
    return getattr(answer, "value", answer)


def submit(node, keypair, module, function, params):
    call = node.compose_call(module, function, params)
    return node.submit_extrinsic(node.create_signed_extrinsic(call=call, keypair=keypair), wait_for_inclusion=True)


def hotkey(name):
    return json.loads((wallets / name / "hotkeys" / "default").read_text())


miner = hotkey("miner-1")
keypair = Keypair.create_from_mnemonic(miner["secretPhrase"])
with SubstrateInterface(url=url) as node:
    head = node.get_chain_head()
    version = node.get_block_runtime_version(head)
    check("runtime", version["specName"] == "node-subtensor", f"{version['specName']} {version['specVersion']}")
    pallets = {pallet["name"] for pallet in node.get_metadata_modules()}
    check("metadata", {"SubtensorModule", "Commitments", "System"} <= pallets, f"{len(pallets)} pallets")

    graph = value(node.runtime_call("SubnetInfoRuntimeApi", "get_metagraph", [netuid]))
    wanted = [hotkey(name)["ss58Address"] for name in ("validator", "miner-1")]
    same = graph["hotkeys"] == wanted and graph["num_uids"] == 2
    check("metagraph", same, f"{graph['num_uids']} neurons at block {graph['block']}")
    check("stranger net", value(node.runtime_call("SubnetInfoRuntimeApi", "get_metagraph", [999])) is None, "None")

    uid = value(node.query("SubtensorModule", "Uids", [netuid, keypair.ss58_address]))
    check("storage", uid == 1, f"uid {uid}")
    keys = {value(k): value(v) for k, v in node.query_map("SubtensorModule", "Keys", [netuid])}
    check("storage map", keys == dict(enumerate(wanted)), f"{len(keys)} entries")
    slot = value(node.get_constant("Aura", "SlotDuration"))
    check("constant", slot == 500, f"{slot} ms")

    fields = [[{"Raw9": "0x" + b"my-bucket".hex()}]]
    commitment = {"netuid": netuid, "info": {"fields": fields}}
    receipt = submit(node, keypair, "Commitments", "set_commitment", commitment)
    check("extrinsic", receipt.is_success, receipt.block_hash if receipt.is_success else receipt.error_message)
    events = [event["event"] if "event" in event else event for event in map(value, receipt.triggered_events)]
    names = [(event.get("module_id"), event.get("event_id")) for event in events]
    check("events", ("Commitments", "Commitment") in names and ("System", "ExtrinsicSuccess") in names, names)
    stored = value(node.query("Commitments", "CommitmentOf", [netuid, keypair.ss58_address]))
    check("read back", stored["info"]["fields"] == fields[0], stored["info"])

    weights = {"netuid": netuid, "dests": [0], "weights": [65535], "version_key": 0}
    try:
        refusal = str(submit(node, keypair, "SubtensorModule", "set_weights", weights).error_message)
    except SubstrateRequestException as error:
        refusal = str(error)
    check("refusal", "NeuronNoValidatorPermit" in refusal, refusal)

    seen = []

    def on_head(block, _number=None, _subscription=None):
        seen.append(int(block["header"]["number"]))
        return seen if len(seen) == 3 else None

    node.subscribe_block_headers(on_head)
    check("heads", seen == list(range(seen[0], seen[0] + 3)), seen)
sys.exit(bool(failed))
