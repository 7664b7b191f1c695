"""Checks the test vectors of docs/log-format.md, section 10, with the verifier beside: vectors.py FILE"""

import json
import sys
from pathlib import Path

from verify import (
    chain_after, check_consistency_file, check_inclusion_file, commitments, leaf_data, leaf_hash, mth, parse_checkpoint, parse_key,
    place, sha256, verify_consistency, verify_inclusion, verify_note,
)


def verify_vectors(vectors):
    findings = []

    def check(name, found, expected):
        if found != expected:
            findings.append(f"{name}: {found}, not {expected}")

    for vector in vectors["events"]:
        event = json.loads(vector["line"])
        meta, payload = commitments(event)
        check("meta", meta.hex(), vector["meta"])
        check("payload", payload.hex(), vector["payload"])
        check("leaf data", leaf_data(event).hex(), vector["leaf_data"])
        check("leaf hash", leaf_hash(leaf_data(event)).hex(), vector["leaf_hash"])
    tree = vectors["tree"]
    hashes = [leaf_hash(str(n).encode()) for n in range(max(r["size"] for r in tree["roots"]))]
    for each in tree["roots"]:
        check(f"root of {each['size']}", mth(hashes[:each["size"]]).hex(), each["root"])
    for each in tree["inclusion"]:
        proof = [bytes.fromhex(h) for h in each["hashes"]]
        root = mth(hashes[:each["size"]])
        check("inclusion", verify_inclusion(hashes[each["index"]], each["index"], each["size"], proof, root), True)
    for each in tree["consistency"]:
        proof, old, new = [bytes.fromhex(h) for h in each["hashes"]], each["old"], each["new"]
        check("consistency", verify_consistency(old, mth(hashes[:old]), new, mth(hashes[:new]), proof), True)
    for tile in vectors["tiles"]:
        check("path", f"tile/{tile['level']}/{place(tile['index'], tile['width'])}", tile["path"])
    for each in vectors["chain"]:
        seen = f"pg_attest/horizon/v1\n{each['last_event_id']}\n{each['next_xid']}\n{each['snapshot']}\n"
        horizon = sha256(seen.encode())
        chain = chain_after(bytes.fromhex(each["previous"]), each["sealed_at"], horizon, each["checkpoint"])
        check("horizon", horizon.hex(), each["horizon"])
        check("chain", chain.hex(), each["chain"])
    keys = [parse_key(vectors["keys"][name]["verifier"]) for name in ("log", "witness")]
    check("signed", verify_note(vectors["signed"], keys)[1], ["db.example/log"])
    check("cosigned", verify_note(vectors["cosigned"], keys)[1], ["db.example/log", "witness.example/w"])
    leaf = bytes.fromhex(vectors["events"][1]["leaf_hash"])
    check("inclusion proof", check_inclusion_file(vectors["inclusion_proof"], leaf), True)
    _, _, old_root = parse_checkpoint(vectors["chain"][0]["checkpoint"])
    check("consistency proof", check_consistency_file(vectors["consistency_proof"], old_root), True)
    return findings


if __name__ == "__main__":
    found = verify_vectors(json.loads(Path(sys.argv[1]).read_text()))
    print("\n".join(found) or "every vector is right")
    sys.exit(bool(found))
