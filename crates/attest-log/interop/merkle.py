"""pymerkle (PyPI) accepts an epoch's root and inclusion proofs: merkle.py FOLDER

Consistency proofs are not asked of it: pymerkle 7 splits them otherwise than RFC 6962 does.
"""

import base64
import struct
import sys
from pathlib import Path

from pymerkle import InmemoryTree
from pymerkle.proof import InclusionProof


def entries(folder):
    # Names of three digits, the x'es before them: the order of paths is that of indexes; partial ones are last.
    for path in sorted(p for p in (folder / "tile/entries").rglob("*") if p.is_file()):
        bundle = path.read_bytes()
        while bundle:
            (length,) = struct.unpack(">H", bundle[:2])
            yield bundle[2:2 + length]
            bundle = bundle[2 + length:]


def main(folder):
    size, root = (folder / "checkpoint").read_text().split("\n")[1:3]
    size, root = int(size), base64.b64decode(root)
    tree = InmemoryTree(algorithm="sha256")
    for entry in entries(folder):
        tree.append_entry(entry)
    assert tree.get_size() == size
    assert tree.get_root() == root
    proofs = 0
    for path in (folder / "proofs").glob("*.tlog-proof"):
        hashes = [base64.b64decode(line) for line in path.read_text().split("\n\n")[0].split("\n")[3:]]
        index = int(path.stem) + 1
        leaf = tree.get_leaf(index)
        ours = tree.prove_inclusion(index, size).serialize()
        ours["path"] = [each.hex() for each in [leaf] + hashes]
        InclusionProof.deserialize(ours).verify(leaf, root, index=index, size=size, algorithm="sha256")
        proofs += 1
    assert proofs > 0
    print(f"pymerkle: root of {size} leaves, {proofs} proofs")


main(Path(sys.argv[1]))
