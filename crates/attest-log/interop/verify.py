"""A second verifier of the log, written from docs/log-format.md alone: shares no code with the Rust one.

    verify.py EXPORT [--keys FILE] [--old CHECKPOINT]...

Prints each finding; the exit status is 1 when there is one. Ed25519 is PyCA cryptography's, all else the standard library's.
"""

import argparse
import base64
import hashlib
import json
import struct
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# Sections 1 to 3: events.

META = [
    (1, "event_id", ">q"), (2, "occurred_at", ">q"), (3, "captured_at", ">q"), (4, "xact_id", ">Q"),
    (5, "statement_id", ">i"), (6, "backend_pid", ">i"), (7, "table_oid", ">I"), (8, "operation", str),
    (10, "schema_name", str), (11, "table_name", str), (16, "changed_columns", list), (17, "session_user_name", str),
    (18, "effective_role", str), (19, "app_user_id", str), (20, "request_id", str), (21, "process_id", str),
    (22, "session_id", str), (23, "tenant_id", str), (24, "reason", str), (25, "application_name", str),
    (26, "client_addr", str), (27, "action", str), (28, "category", str), (29, "severity", str), (30, "entity_type", str),
]
PAYLOAD = [
    (12, "row_key", str), (13, "old_row_key", str), (14, "old_values", str), (15, "new_values", str),
    (31, "entity_id", str), (32, "entity_name", str), (33, "description", str), (34, "context", str),
]
KNOWN = {name for _, name, _ in META + PAYLOAD} | {"leaf_index", "salt", "payload_hash"}


def value_bytes(kind, value):
    if kind is str:
        return value.encode()
    if kind is list:
        null = struct.pack(">I", 0xFFFFFFFF)
        elements = [null if e is None else struct.pack(">I", len(e.encode())) + e.encode() for e in value]
        return struct.pack(">I", len(value)) + b"".join(elements)
    return struct.pack(kind, value)


def tlv(fields, event):
    found = [(tag, value_bytes(kind, event[name])) for tag, name, kind in fields if name in event]
    return b"".join(struct.pack(">HI", tag, len(value)) + value for tag, value in found)


def commitments(event):
    if unknown := event.keys() - KNOWN:
        raise ValueError(f"unknown fields {unknown}")
    meta = sha256(b"pg_attest/meta/v1\n", tlv(META, event))
    if "payload_hash" in event:
        if "salt" in event or any(name in event for _, name, _ in PAYLOAD):
            raise ValueError("half erased")
        return meta, bytes.fromhex(event["payload_hash"])
    salt = bytes.fromhex(event["salt"])
    return meta, sha256(b"pg_attest/payload/v1\n", salt, tlv(PAYLOAD, event))


def leaf_data(event):
    meta, payload = commitments(event)
    ids = struct.pack(">qQq", event["event_id"], event["xact_id"], event["occurred_at"])
    return b"pg_attest/leaf/v1\n" + ids + meta + payload


def leaf_hash(data):
    return sha256(b"\x00", data)


# Section 4: the tree.

def node(left, right):
    return sha256(b"\x01", left, right)


class Frontier:
    """The roots of the perfect subtrees of a growing tree, as (leaves, root)."""

    def __init__(self):
        self.size, self.roots = 0, []

    def append(self, leaf):
        self.size += 1
        self.roots.append((1, leaf))
        while len(self.roots) > 1 and self.roots[-1][0] == self.roots[-2][0]:
            (count, right), (_, left) = self.roots.pop(), self.roots.pop()
            self.roots.append((2 * count, node(left, right)))

    def root(self):
        if not self.roots:
            return sha256()
        root = self.roots[-1][1]
        for _, left in reversed(self.roots[:-1]):
            root = node(left, root)
        return root


def mth(hashes):
    frontier = Frontier()
    for each in hashes:
        frontier.append(each)
    return frontier.root()


# Section 5: tiles.

def place(index, width):
    digits = f"{index:03}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i:i + 3] for i in range(0, len(digits), 3)]
    name = "/".join(["x" + group for group in groups[:-1]] + groups[-1:])
    return name if width == 256 else f"{name}.p/{width}"


def entries_of(bundle):
    entries = []
    while bundle:
        (length,) = struct.unpack(">H", bundle[:2])
        entries.append(bundle[2:2 + length])
        if len(entries[-1]) != length:
            raise ValueError("an entry bundle is cut")
        bundle = bundle[2 + length:]
    return entries


# Section 6: checkpoints, notes, keys.

def decimal(text):
    if not text.isascii() or not text.isdigit() or str(int(text)) != text:
        raise ValueError(f"{text!r} is not a number")
    return int(text)


def parse_checkpoint(text):
    origin, size, root, *_ = text.split("\n")
    return origin, decimal(size), base64.b64decode(root, validate=True)


def parse_note(note):
    text, found, lines = note.rpartition("\n\n")
    if not found or not note.endswith("\n"):
        raise ValueError("not a note")
    signatures = []
    for line in lines.splitlines():
        dash, name, encoded = line.split(" ")
        if dash != "\u2014":
            raise ValueError(f"not a signature line: {line}")
        decoded = base64.b64decode(encoded, validate=True)
        signatures.append((name, decoded[:4], decoded[4:]))
    return text + "\n", signatures


def parse_key(key):
    name, key_id, encoded = key.split("+", 2)
    decoded = base64.b64decode(encoded, validate=True)
    if sha256(name.encode(), b"\n", decoded)[:4] != bytes.fromhex(key_id):
        raise ValueError(f"the id of key {name} is not its own")
    return name, bytes.fromhex(key_id), decoded[0], Ed25519PublicKey.from_public_bytes(decoded[1:])


def verify_note(note, keys):
    """The text, and the names of the trusted keys that signed it."""
    text, signatures = parse_note(note)
    signed_by = []
    for name, key_id, signature in signatures:
        for key_name, known_id, kind, key in keys:
            if (name, key_id) != (key_name, known_id):
                continue
            message = text.encode()
            if kind == 4:
                (time,) = struct.unpack(">Q", signature[:8])
                message = f"cosignature/v1\ntime {time}\n".encode() + message
                signature = signature[8:]
            key.verify(signature, message)
            signed_by.append(name)
    if not signed_by:
        raise ValueError("no trusted key signed the checkpoint")
    return text, signed_by


# Section 7: the chain.

def chain_after(previous, sealed_at, horizon, text):
    return sha256(b"pg_attest/checkpoint/v1\n", previous, struct.pack(">q", sealed_at), horizon, text.encode())


# Section 8: proofs.

def verify_inclusion(leaf, index, size, proof, root):
    fn, sn, r = index, size - 1, leaf
    for p in proof:
        if sn == 0:
            return False
        if fn % 2 == 1 or fn == sn:
            r = node(p, r)
            while fn % 2 == 0 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    return index < size and sn == 0 and r == root


def verify_consistency(old, old_root, new, new_root, proof):
    if old > new:
        return False
    if old == 0:
        return not proof and old_root == sha256()
    if old == new:
        return not proof and old_root == new_root
    if old & (old - 1) == 0:
        proof = [old_root] + proof
    if not proof:
        return False
    fn, sn = old - 1, new - 1
    while fn % 2 == 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = proof[0]
    for p in proof[1:]:
        if sn == 0:
            return False
        if fn % 2 == 1 or fn == sn:
            fr, sr = node(p, fr), node(p, sr)
            while fn % 2 == 0 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == old_root and sr == new_root


def parse_proof(text):
    """The head's lines, the hashes, the checkpoint's note."""
    head, _, note = text.partition("\n\n")
    lines = head.split("\n")
    count = next(i for i, line in enumerate(lines) if line.startswith(("index ", "old "))) + 1
    return lines[:count], [base64.b64decode(line, validate=True) for line in lines[count:]], note


def check_inclusion_file(text, leaf):
    lines, hashes, note = parse_proof(text)
    extra = dict(line.split(" ", 1) for line in lines[1:])
    data = base64.b64decode(extra["extra"], validate=True)
    _, size, root = parse_checkpoint(parse_note(note)[0])
    good = verify_inclusion(leaf_hash(data), decimal(extra["index"]), size, hashes, root)
    return lines[0] == "c2sp.org/tlog-proof@v1" and good and leaf in (None, leaf_hash(data))


def check_consistency_file(text, old_root):
    lines, hashes, note = parse_proof(text)
    _, size, root = parse_checkpoint(parse_note(note)[0])
    return verify_consistency(decimal(lines[0].removeprefix("old ")), old_root, size, root, hashes)


# Section 9: exports.

class Epoch:
    """One directory of an export, verified."""

    def __init__(self, folder, keys, before, kept):
        self.folder, self.findings = folder, []
        note = (folder / "checkpoint").read_bytes().decode()
        self.text, self.signed_by = verify_note(note, keys) if keys else (parse_note(note)[0], [])
        self.origin, self.size, self.root = parse_checkpoint(self.text)
        self.entries = self.read_tiles()
        self.hashes = [leaf_hash(entry) if entry else self.tile_hash(leaf) for leaf, entry in enumerate(self.entries)]
        self.check_tree()
        self.first, self.missing, self.erased, self.declaring = None, [], {}, {}
        self.check_events()
        self.texts = {}
        self.chain = self.check_chain(before)
        self.check_signatures(keys)
        for origin, size, root in kept:
            if origin == self.origin and (size > self.size or mth(self.hashes[:size]) != root):
                self.find(f"the checkpoint of {size} leaves that was kept is not of this tree")

    def find(self, what):
        self.findings.append(f"{self.folder.name}: {what}")

    def read_tiles(self):
        entries = []
        for index in range(-(-self.size // 256)):
            width = min(256, self.size - 256 * index)
            bundle = (self.folder / "tile/entries" / place(index, width)).read_bytes()
            found = entries_of(bundle)
            if len(found) != width:
                raise ValueError(f"bundle {index} has {len(found)} entries, not {width}")
            entries += found
        return entries

    def tile_hash(self, leaf):
        """Of a leaf whose event was gone when it was exported."""
        tile = (self.folder / "tile/0" / place(leaf // 256, min(256, self.size - leaf // 256 * 256))).read_bytes()
        return tile[leaf % 256 * 32:leaf % 256 * 32 + 32]

    def check_tree(self):
        level, hashes = 0, self.hashes
        while hashes:
            for index in range(-(-len(hashes) // 256)):
                tile = hashes[256 * index:256 * index + 256]
                path = self.folder / "tile" / str(level) / place(index, len(tile))
                if path.read_bytes() != b"".join(tile):
                    self.find(f"tile {level}/{index} is not that of the tree")
            full = range(len(hashes) // 256)
            level, hashes = level + 1, [mth(hashes[256 * i:256 * i + 256]) for i in full]
        if mth(self.hashes) != self.root:
            self.find("the leaves do not make up the checkpoint's root")

    def check_events(self):
        expected = 0
        for number in range(-(-self.size // 65536)):
            path = self.folder / "events" / (place(number, 256) + ".jsonl")
            for line in path.read_bytes().splitlines() if path.exists() else []:
                event = json.loads(line)
                index = event["leaf_index"]
                if index < expected or index // 65536 != number or index >= self.size:
                    self.find(f"leaf {index} is out of place")
                    continue
                self.missing += range(expected, index)
                expected = index + 1
                self.first = self.first or event
                self.check_event(event, index)
        self.missing += range(expected, self.size)
        known = {self.folder / "events" / (place(n, 256) + ".jsonl") for n in range(-(-self.size // 65536))}
        if not (self.folder / "unfinished").exists():
            for path in sorted(set((self.folder / "events").rglob("*.jsonl")) - known):
                self.find(f"{path.name} has events of no leaf")

    def check_event(self, event, index):
        name = f"event {event.get('event_id')} (leaf {index})"
        try:
            data = leaf_data(event)
        except (ValueError, KeyError, struct.error) as error:
            self.find(f"{name} has no leaf: {error}")
            return
        if leaf_hash(data) == self.hashes[index]:
            if "payload_hash" in event:
                self.erased[index] = name
            if event["operation"] == "system" and event.get("action") in ("prune", "clear", "erase"):
                self.declaring[index] = event
        elif not self.entries[index]:
            self.find(f"{name} was altered")
        else:
            parts = {"ids or time": slice(18, 42), "meta": slice(42, 74), "payload": slice(74, 106)}
            altered = [part for part, at in parts.items() if data[at] != self.entries[index][at]]
            self.find(f"{name} was altered: {', '.join(altered)}")

    def check_chain(self, before):
        chain = before.chain if before else bytes(32)
        if before:
            self.check_first(before)
        frontier, seen, last_size, last_time, root = Frontier(), 0, 0, None, sha256()
        for line in (self.folder / "checkpoints.jsonl").read_text().splitlines():
            row = json.loads(line)
            size, time, root = row["tree_size"], row["sealed_at"], base64.b64decode(row["root"], validate=True)
            if size <= last_size or size > self.size or (last_time is not None and time < last_time):
                self.find(f"the checkpoint of {size} leaves is out of order")
                break
            for leaf in self.hashes[seen:size]:
                frontier.append(leaf)
            seen, last_size, last_time = size, size, time
            if frontier.root() != root:
                self.find(f"the checkpoint of {size} leaves has another root")
            horizon = base64.b64decode(row["horizon"], validate=True)
            self.texts[size] = f"{self.origin}\n{size}\n{row['root']}\n"
            chain = chain_after(chain, time, horizon, self.texts[size])
            if base64.b64decode(row["chain"], validate=True) != chain:
                self.find(f"the chain breaks at the checkpoint of {size} leaves")
                break
        if (last_size, root) != (self.size, self.root):
            self.find("the last checkpoint of the chain is not the signed one")
        return chain

    def check_signatures(self, keys):
        path = self.folder / "signatures.jsonl"
        for line in path.read_text().splitlines() if path.exists() else []:
            row = json.loads(line)
            text = self.texts.get(row["tree_size"])
            if text is None:
                self.find(f"a signature of a checkpoint of {row['tree_size']} leaves, which there is not")
                continue
            note = f"{text}\n{row['line']}\n"
            name, key_id, _ = parse_note(note)[1][0]
            trusted = [key for key in keys if key[:2] == (name, key_id)]
            try:
                if trusted:
                    verify_note(note, trusted)
            except InvalidSignature:
                self.find(f"the signature of {name} does not fit the checkpoint of {row['tree_size']} leaves")

    def check_first(self, before):
        first = self.first or {}
        said = json.loads(first.get("context", "{}")).get("previous", {})
        expected = {
            "origin": before.origin, "tree_size": before.size,
            "root": base64.b64encode(before.root).decode(), "chain": base64.b64encode(before.chain).decode(),
        }
        named = {key: said.get(key) for key in expected}
        if (first.get("operation"), first.get("action")) != ("system", "epoch") or named != expected:
            self.find("the first event does not name the last checkpoint of the epoch before")


# Section 11: what was removed.

def leaves_of(said, own, epochs):
    """The declared leaves, as (epoch, index); ValueError where the declaration does not count."""
    leaves, before = [], (0, -1)
    for epoch, first, last in said["leaves"]:
        if any(type(number) is not int for number in (epoch, first, last)) or not 0 <= first <= last or (epoch, first) <= before:
            raise ValueError("its runs are out of order")
        end = own[1] if epoch == own[0] else epochs[epoch].size if epoch < own[0] and epoch in epochs else 0
        if last >= end:
            raise ValueError("it names leaves that were not there before it")
        before = (epoch, last)
        leaves += [(epoch, index) for index in range(first, last + 1)]
    if said["count"] != len(leaves):
        raise ValueError("its count is not that of its leaves")
    if base64.b64decode(said["root"], validate=True) != mth(epochs[epoch].hashes[index] for epoch, index in leaves):
        raise ValueError("its root is not that of its leaves")
    return leaves


def check_removals(epochs):
    pruned, erased, findings = set(), set(), []
    for number, epoch in epochs.items():
        for index, event in epoch.declaring.items():
            try:
                leaves = leaves_of(json.loads(event.get("context", "{}")), (number, index), epochs)
                (erased if event["action"] == "erase" else pruned).update(leaves)
            except (ValueError, KeyError, TypeError) as error:
                findings.append(f"{number}: the declaration of leaf {index} is false: {error}")
    for number, epoch in epochs.items():
        missing = [index for index in epoch.missing if (number, index) not in pruned]
        findings += [f"{number}: the event of leaf {index} is missing" for index in missing]
        altered = [name for index, name in epoch.erased.items() if (number, index) not in erased]
        findings += [f"{number}: {name} was altered: it was erased, and nothing declares it" for name in altered]
        print(f"epoch {number}: {len(epoch.missing) - len(missing)} pruned, {len(epoch.erased) - len(altered)} erased as declared")
    return findings


def verify_export(folder, keys, kept):
    findings, before, epochs = [], None, {}
    for path in sorted((p for p in folder.iterdir() if p.name.isdigit()), key=lambda p: int(p.name)):
        try:
            epoch = Epoch(path, keys, before, kept)
        except (OSError, ValueError, InvalidSignature) as error:
            return findings + [f"{path.name}: {error or 'a signature does not fit the checkpoint'}"]
        findings += epoch.findings
        by = ", ".join(epoch.signed_by) or "nobody that was asked for"
        print(f"epoch {path.name}: {epoch.size} leaves, {epoch.origin}, signed by {by}")
        findings += check_proofs(path, epoch)
        before = epochs[int(path.name)] = epoch
    findings += check_removals(epochs)
    return findings if before else ["there is no epoch"]


def check_proofs(path, epoch):
    findings = []
    for proof in sorted((path / "proofs").glob("*")):
        text, number = proof.read_bytes().decode(), int(proof.stem)
        if proof.suffix == ".tlog-proof":
            good = check_inclusion_file(text, epoch.hashes[number])
        else:
            good = check_consistency_file(text, mth(epoch.hashes[:number]))
        if not good:
            findings.append(f"{path.name}: {proof.name} does not verify")
    return findings


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("export", type=Path)
    parser.add_argument("--keys", type=Path, help="trusted verifier keys, one a line")
    parser.add_argument("--old", type=Path, action="append", default=[], help="a checkpoint that was kept")
    arguments = parser.parse_args()
    lines = arguments.keys.read_text().splitlines() if arguments.keys else []
    kept = [parse_checkpoint(parse_note(path.read_bytes().decode())[0]) for path in arguments.old]
    findings = verify_export(arguments.export, [parse_key(line) for line in lines], kept)
    for finding in findings:
        print(finding)
    print("intact" if not findings else f"{len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
