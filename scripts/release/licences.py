"""Writes the licences of all crates that the named packages are made of, each text once.

Reads `cargo metadata` from standard input. Crates of the workspace are ours and left out, and so is what only builds or tests.
"""

import hashlib
import json
import pathlib
import re
import sys

FILES = re.compile(r"^(licen[cs]e|copying|notice|unlicense|copyright)", re.IGNORECASE)


def shipped(metadata, names):
    """Ids of what ends up in the programs: normal dependencies, all the way down."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    todo = [package["id"] for package in metadata["packages"] if package["name"] in names]
    found = set()
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        for dep in nodes[name]["deps"]:
            if any(kind["kind"] is None for kind in dep["dep_kinds"]):
                todo.append(dep["pkg"])
    return found - set(metadata["workspace_members"])


def texts(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    files = sorted(path for path in folder.iterdir() if path.is_file() and FILES.match(path.name))
    return [path.read_text(encoding="utf-8", errors="replace").strip() for path in files]


def main():
    metadata = json.load(sys.stdin)
    ids = shipped(metadata, set(sys.argv[1:]))
    packages = sorted((p for p in metadata["packages"] if p["id"] in ids), key=lambda p: (p["name"], p["version"]))
    if not packages:
        sys.exit(f"error: no crate belongs to {' '.join(sys.argv[1:])}")
    by_text = {}
    for package in packages:
        name = f"{package['name']} {package['version']}"
        source = package.get("repository") or package.get("homepage") or ""
        print(f"{name}: {package.get('license') or 'see its text'} {source}".rstrip())
        for text in texts(package):
            by_text.setdefault(hashlib.sha256(text.encode()).digest(), (text, []))[1].append(name)
    for text, names in by_text.values():
        print(f"\n{'=' * 100}\n{', '.join(names)}\n{'=' * 100}\n\n{text}")


main()
