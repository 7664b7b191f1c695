"""verify.py finds every way to tamper with an export: tamper.py EXPORT

Each case changes one thing in a copy; the finding must name it. A verifier that says «intact» to everything fails here.
"""

import base64
import hashlib
import json
import shutil
import sys
import tempfile
import types
from pathlib import Path

from verify import leaves_of, mth, parse_checkpoint, parse_key, parse_note, verify_export


def lines_of(path):
    return path.read_text().splitlines(keepends=True)


def event(change, number=0):
    """Changes the fields of an event's line; None removes the line."""
    def tamper(epoch):
        path = epoch / "events/000.jsonl"
        lines = lines_of(path)
        at = number % len(lines)
        fields = change(json.loads(lines[at]))
        lines[at:at + 1] = [] if fields is None else [json.dumps(fields, ensure_ascii=False) + "\n"]
        path.write_text("".join(lines))
    return tamper


def swap(epoch):
    path = epoch / "events/000.jsonl"
    first, second, *rest = lines_of(path)
    path.write_text("".join([second, first, *rest]))


def flip(name, at):
    def tamper(epoch):
        path = epoch / name
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)
    return tamper


def chain(change, name="checkpoints.jsonl"):
    def tamper(epoch):
        path = epoch / name
        rows = [json.loads(line) for line in lines_of(path)]
        path.write_text("".join(json.dumps(row) + "\n" for row in change(rows)))
    return tamper


def signatures(change):
    return chain(change, "signatures.jsonl")


def without(name):
    return lambda fields: {key: value for key, value in fields.items() if key != name}


def other_context(fields):
    said = json.loads(fields["context"])
    said["previous"]["tree_size"] -= 1
    return fields | {"context": json.dumps(said)}


CASES = [
    ("1", event(lambda e: e | {"new_values": "{}"}), "event 1 (leaf 0) was altered: payload"),
    ("1", event(lambda e: e | {"new_values": e["new_values"].replace(": ", ":")}), "was altered: payload"),
    ("1", event(lambda e: e | {"session_user_name": "mallory"}), "event 1 (leaf 0) was altered: meta"),
    ("1", event(without("reason")), "event 1 (leaf 0) was altered: meta"),
    ("1", event(lambda e: e | {"occurred_at": e["occurred_at"] + 1}), "was altered: ids or time, meta"),
    ("1", event(without("salt")), "event 1 (leaf 0) has no leaf"),
    ("1", event(lambda e: e | {"new_values": "{}"}, 3), "has no leaf: half erased"),
    ("1", event(lambda e: e | {"extra": ""}), "has no leaf: unknown fields"),
    ("1", event(lambda e: None, 5), "the event of leaf 5 is missing"),
    ("1", event(lambda e: None, -1), "is missing"),
    ("1", swap, "out of place"),
    ("1", lambda folder: (folder / "events/001.jsonl").write_text("{}\n"), "has events of no leaf"),
    ("1", flip("tile/0/000", 33), "tile 0/0 is not that of the tree"),
    ("1", flip("tile/entries/000", 100), "do not make up the checkpoint's root"),
    ("1", flip("checkpoint.signature", 0), None),
    ("1", chain(lambda rows: rows[:3] + rows[4:]), "the chain breaks"),
    ("1", chain(lambda rows: [rows[0] | {"sealed_at": rows[0]["sealed_at"] - 1}] + rows[1:]), "the chain breaks"),
    ("1", chain(lambda rows: [rows[0] | {"horizon": base64.b64encode(bytes(32)).decode()}] + rows[1:]), "the chain breaks"),
    ("1", chain(lambda rows: rows[:-1]), "not the signed one"),
    ("1", signatures(lambda rows: [rows[0] | {"tree_size": rows[1]["tree_size"]}] + rows[1:]), "does not fit the checkpoint of 3 leaves"),
    ("1", signatures(lambda rows: [rows[0] | {"tree_size": 4}] + rows[1:]), "which there is not"),
    ("1", chain(lambda rows: [rows[0] | {"root": base64.b64encode(bytes(32)).decode()}] + rows[1:]), "another root"),
    ("1", event(lambda e: e | {"context": e["context"].replace("[1, 3, 3], ", "")}, -1), "nothing declares it"),
    ("2", event(lambda e: None, -1), "1: the event of leaf 8 is missing"),
    ("2", event(lambda e: e | {"action": "note"}, -1), "1: the event of leaf 8 is missing"),
    ("2", event(other_context), "does not name the last checkpoint"),
]


def notes(export, epoch, keys):
    """Checkpoints with a changed size, origin, root or signature."""
    path = epoch / "checkpoint"
    note = path.read_text()
    text, _ = parse_note(note)
    origin, size, root = text.splitlines()
    for old, new in [(size, str(int(size) - 1)), (origin, origin + "0"), (root, root[::-1]), ("\u2014 db.example", "\u2014 db.exampel")]:
        path.write_text(note.replace(old, new, 1))
        findings = verify_export(export, keys[:1], [])
        assert findings, f"a changed checkpoint went unnoticed: {old} to {new}"
    path.write_text(note)


def declarations():
    """What a declaration may not say, of a log of two epochs with ten leaves each."""
    hashes = {epoch: [hashlib.sha256(b"%d %d" % (epoch, index)).digest() for index in range(10)] for epoch in (1, 2)}
    epochs = {epoch: types.SimpleNamespace(size=10, hashes=hashes[epoch]) for epoch in hashes}

    def counts(leaves, count, declared, own=(2, 7)):
        root = base64.b64encode(mth(hashes[epoch][index] for epoch, index in declared)).decode()
        try:
            return bool(leaves_of({"leaves": leaves, "count": count, "root": root}, own, epochs))
        except ValueError:
            return False

    good = [(1, 3), (1, 4), (2, 0)]
    assert counts([[1, 3, 4], [2, 0, 0]], 3, good)
    for leaves, count, declared, own in [
        ([[1, 3, 4], [2, 0, 0]], 2, good, (2, 7)), ([[1, 3, 5], [2, 0, 0]], 4, good, (2, 7)), ([[2, 0, 0], [1, 3, 4]], 3, good, (2, 7)),
        ([[1, 3, 4], [1, 4, 4]], 3, good, (2, 7)), ([[2, 7, 7]], 1, [(2, 7)], (2, 7)), ([[2, 0, 0]], 1, [(2, 0)], (1, 9)),
        ([[1, 0, 2 ** 64]], 1, good, (2, 7)), ([[1, 4, 5], [2, 0, 0]], 3, good, (2, 7)),
    ]:
        assert not counts(leaves, count, declared, own), leaves


def main(export):
    declarations()
    keys = [parse_key(line) for line in (export / "keys").read_text().splitlines()]
    for name, tamper, expected in CASES:
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / "export"
            shutil.copytree(export, copy)
            tamper(copy / name)
            findings = verify_export(copy, keys, [])
            if expected is None:
                assert not findings, findings
            else:
                assert any(expected in finding for finding in findings), f"{expected}: {findings}"
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "export"
        shutil.copytree(export, copy)
        notes(copy, copy / "1", keys)
        # A tree that is whole and signed, but not the one of which somebody kept a checkpoint.
        origin, size, _ = parse_checkpoint(parse_note((export / "1/checkpoint").read_text())[0])
        findings = verify_export(copy, keys, [(origin, size - 1, bytes(32))])
        assert any("was kept is not of this tree" in finding for finding in findings), findings
    print(f"{len(CASES) + 14} cases")


main(Path(sys.argv[1]))
