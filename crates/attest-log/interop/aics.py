"""aics-tlog (PyPI) accepts an epoch of an export: checkpoint, every tile and entry, proofs. aics.py FOLDER KEYS"""

import base64
import sys
from pathlib import Path

import aics_tlog as aics


def proof_of(path):
    """The hashes, and the lines before them, of a proof file."""
    lines = path.read_text().split("\n\n")[0].split("\n")
    head = next(i for i, line in enumerate(lines) if line.startswith(("index ", "old "))) + 1
    return lines[:head], [base64.b64decode(line) for line in lines[head:]]


def main(folder, keys):
    note = aics.parse_note((folder / "checkpoint").read_bytes())
    log, witness = [aics.parse_vkey(line) for line in keys.read_text().splitlines()]
    verdict = aics.verify_checkpoint(note, log, [witness], quorum=1)
    assert verdict.ok, verdict.error
    checkpoint = aics.parse_checkpoint(note.text)
    size, root = checkpoint.size, checkpoint.root

    reader = aics.FileSystemTileReader(folder)
    report = aics.audit_tiles(reader, size, root)
    assert aics.tree_root_from_tiles(reader, size) == root

    proofs = 0
    for path in (folder / "proofs").iterdir():
        number = int(path.stem)
        _, hashes = proof_of(path)
        if path.suffix == ".tlog-proof":
            entry = aics.read_entry(reader, number, size)
            assert aics.verify_leaf_inclusion(entry, number, size, hashes, root), path
            assert aics.inclusion_proof_from_tiles(reader, number, size) == hashes, path
        else:
            old_root = aics.tree_root_from_tiles(reader, number, size)
            assert aics.verify_consistency(number, size, old_root, root, hashes), path
            assert aics.consistency_proof_from_tiles(reader, number, size) == hashes, path
        proofs += 1
    assert proofs > 0
    print(f"aics-tlog: checkpoint, {report.tiles} tiles, {report.bundles} bundles, {proofs} proofs")


main(Path(sys.argv[1]), Path(sys.argv[2]))
