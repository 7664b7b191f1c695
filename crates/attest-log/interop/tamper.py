"""verify.py finds every way to tamper with an export: tamper.py EXPORT

Each case changes one thing in a copy; the finding must name it. A verifier that says «intact» to everything fails here.
"""

import base64
import json
import shutil
import sys
import tempfile
from pathlib import Path

from verify import parse_checkpoint, parse_key, parse_note, verify_export


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


def main(export):
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
    print(f"{len(CASES) + 5} cases")


main(Path(sys.argv[1]))
