"""A second reader of confidential stores, written from docs/store.md and docs/protocol.md alone.

It shares no line with wardround: it takes bytes, and what a node answers about contracts.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eth_account import Account
from eth_account.messages import SignableMessage, encode_typed_data

#: protocol.md, sections 5 and 10; store.md, "Signed types".
TYPES = {
    "Contribution": "bytes32 study,uint32 round,bytes32 baseModel,address site,bytes32 update,"
    "uint64 weight,bytes32 report",
    "KeyRing": "bytes32 study,uint64 epoch,bytes16 key,bytes32 readers",
    "Request": "bytes32 study,string method,string path,bytes32 body,uint64 time,bytes32 nonce",
}
#: store.md, "Sealed object".
HEADER = struct.Struct(">20s32sQ16s59sQ32s")
MAGIC = b"\x89wardround-sealed-1\n"
FRAME, TAG = 65_536, 16
RING_KEYS = {"format", "study", "epoch", "key", "readers", "signature"}
WRAPPED_KEYS = {"reader", "publicKey", "wrapped"}
MANIFEST_REFS = {"update": "root", "report": "sha256"}


class WrongBytes(Exception):
    """What was read is not what the pages describe."""


def require(holds: object, what: str) -> None:
    if not holds:
        raise WrongBytes(what)


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def unhex(text: str) -> bytes:
    require(re.fullmatch(r"0x(?:[0-9a-f]{2})*", text), f"{text!r} is not lower-case hexadecimal")
    return bytes.fromhex(text[2:])


# ---------------------------------------------------------------- protocol.md, section 3


def canonical(value: Any) -> bytes:
    """RFC 8785, of what documents of ours hold."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        inner = (canonical(key) + b":" + canonical(value[key]) for key in keys)
        return b"{" + b",".join(inner) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(canonical, value)) + b"]"
    if isinstance(value, float):
        return number(value).encode()
    return json.dumps(value, ensure_ascii=False).encode()


def number(value: float) -> str:
    """ECMAScript's text of a double, with the digits that Python finds too."""
    if not value:
        return "0"
    negative, places, exponent = Decimal(repr(value)).normalize().as_tuple()
    digits, sign = "".join(map(str, places)), "-" if negative else ""
    point = len(digits) + int(exponent)
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    rest = f".{digits[1:]}" if digits[1:] else ""
    return f"{sign}{digits[0]}{rest}e{point - 1:+d}"


def document(data: bytes) -> Any:
    value = json.loads(data.decode("utf-8"))
    require(canonical(value) == data, "not canonical")
    return value


def tree(leaves: Sequence[bytes]) -> bytes:
    """RFC 9162, section 2.1, from the bottom up."""
    level = [sha256(b"\0", leaf) for leaf in leaves] or [sha256()]
    while len(level) > 1:
        pairs = [sha256(b"\1", *level[at : at + 2]) for at in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) - len(level) % 2 :]
    return level[0]


def vector_root(data: bytes) -> bytes:
    return tree([data[at : at + 1024] for at in range(0, len(data), 1024)])


def cid_of(data: bytes) -> str:
    nodes = []
    for at in range(0, max(len(data), 1), 1 << 20):
        part = data[at : at + (1 << 20)]
        nodes.append((b"\x01\x55\x12\x20" + sha256(part), len(part), len(part)))
    while len(nodes) > 1:
        nodes = [parent(nodes[at : at + 174]) for at in range(0, len(nodes), 174)]
    return "b" + base64.b32encode(nodes[0][0]).decode().lower().rstrip("=")


def parent(children: Sequence[tuple[bytes, int, int]]) -> tuple[bytes, int, int]:
    links = b""
    for cid, _, below in children:
        link = b"\x0a" + varint(len(cid)) + cid + b"\x12\x00\x18" + varint(below)
        links += b"\x12" + varint(len(link)) + link
    content = sum(size for _, size, _ in children)
    inner = b"\x08\x02\x18" + varint(content)
    inner += b"".join(b"\x20" + varint(size) for _, size, _ in children)
    block = links + b"\x0a" + varint(len(inner)) + inner
    below = len(block) + sum(one for _, _, one in children)
    return b"\x01\x70\x12\x20" + sha256(block), content, below


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + varint(value // 128)


# ---------------------------------------------------------------- signatures


@dataclass(frozen=True)
class Contracts:
    """What a node answers: of the chain, of WardRound, of Grants."""

    chain_id: int
    ward: str
    grants: str
    study: bytes
    #: The sponsor and the coordinators.
    writers: frozenset[str]

    def typed(self, contract: str, primary: str, message: Mapping[str, Any]) -> SignableMessage:
        fields = [field.split() for field in TYPES[primary].split(",")]
        return encode_typed_data(
            domain_data={
                "name": "wardround",
                "version": "2",
                "chainId": self.chain_id,
                "verifyingContract": contract,
            },
            message_types={primary: [{"type": kind, "name": name} for kind, name in fields]},
            message_data=dict(message),
        )

    def signer(
        self, contract: str, primary: str, message: Mapping[str, Any], signature: bytes
    ) -> str:
        require(len(signature) == 65 and signature[64] in (27, 28), "no signature")
        text = self.typed(contract, primary, message)
        return str(Account.recover_message(text, signature=signature)).lower()

    def ring_message(self, ring: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "study": unhex(ring["study"]),
            "epoch": ring["epoch"],
            "key": unhex(ring["key"]),
            "readers": sha256(canonical(ring["readers"])),
        }

    def request(
        self, account: Any, method: str, path: str, body: bytes, time: int, nonce: bytes
    ) -> str:
        """The value of the header `Wardround-Request`."""
        message = {
            "study": self.study,
            "method": method,
            "path": path,
            "body": sha256(body),
            "time": time,
            "nonce": nonce,
        }
        signed = account.sign_message(self.typed(self.grants, "Request", message))
        return f"{time} {nonce.hex()} {sha256(body).hex()} {signed.signature.hex()}"


# ---------------------------------------------------------------- store.md: keys


def extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), secret, "sha256")


def expand(secret: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, of at most one block."""
    return hmac.digest(secret, info + b"\1", "sha256")[:length]


def hpke_key(shared: bytes, enc: bytes, public: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Key and base nonce of RFC 9180: sections 4.1 (DHKEM) and 5.1, mode 0."""
    kem = b"KEM" + struct.pack(">H", 0x20)
    prk = extract(b"", b"HPKE-v1" + kem + b"eae_prk" + shared)
    labelled = struct.pack(">H", 32) + b"HPKE-v1" + kem + b"shared_secret" + enc + public
    secret = expand(prk, labelled, 32)
    suite = b"HPKE" + struct.pack(">HHH", 0x20, 1, 2)
    context = b"\0" + extract(b"", b"HPKE-v1" + suite + b"psk_id_hash")
    context += extract(b"", b"HPKE-v1" + suite + b"info_hash" + info)
    prk = extract(secret, b"HPKE-v1" + suite + b"secret")
    key, nonce = (
        expand(prk, struct.pack(">H", size) + b"HPKE-v1" + suite + label + context, size)
        for label, size in ((b"key", 32), (b"base_nonce", 12))
    )
    return key, nonce


def unwrap(wrapped: bytes, private: bytes, info: bytes) -> bytes:
    require(len(wrapped) == 80, "a wrapped key has 80 bytes")
    enc, sealed = wrapped[:32], wrapped[32:]
    own = X25519PrivateKey.from_private_bytes(private)
    shared = own.exchange(X25519PublicKey.from_public_bytes(enc))
    key, nonce = hpke_key(shared, enc, own.public_key().public_bytes_raw(), info)
    try:
        return AESGCM(key).decrypt(nonce, sealed, b"")
    except InvalidTag:
        raise WrongBytes("a wrapped key does not open") from None


def wrap(content: bytes, public: bytes, info: bytes, ephemeral: bytes) -> bytes:
    own = X25519PrivateKey.from_private_bytes(ephemeral)
    enc = own.public_key().public_bytes_raw()
    shared = own.exchange(X25519PublicKey.from_public_bytes(public))
    key, nonce = hpke_key(shared, enc, public, info)
    return enc + AESGCM(key).encrypt(nonce, content, b"")


def ring_info(study: bytes, epoch: int, name: bytes, reader: str) -> bytes:
    info = b"wardround key ring 1\0" + study + struct.pack(">Q", epoch) + name + unhex(reader)
    require(len(info) == 97, "the info of a ring has 97 bytes")
    return info


def key_name(key: bytes) -> bytes:
    return sha256(b"wardround epoch key\0", key)[:16]


# ---------------------------------------------------------------- store.md: sealed objects


def frame_key(key: bytes, header: bytes) -> AESGCM:
    salt = HEADER.unpack(header)[6]
    return AESGCM(expand(extract(salt, key), b"wardround object key\0" + header, 32))


def nonces(size: int) -> Iterator[tuple[int, bytes]]:
    count = max(1, -(-size // FRAME))
    for at in range(count):
        yield at, at.to_bytes(11, "big") + (b"\1" if at == count - 1 else b"\0")


def unseal(data: bytes, key: bytes) -> bytes:
    header, size = data[: HEADER.size], HEADER.unpack(data[: HEADER.size])[5]
    require(len(data) == 175 + size + 16 * max(1, -(-size // FRAME)), "another length")
    cipher, content = frame_key(key, header), b""
    for at, nonce in nonces(size):
        start = HEADER.size + at * (FRAME + TAG)
        try:
            content += cipher.decrypt(nonce, data[start : start + FRAME + TAG], header)
        except InvalidTag:
            raise WrongBytes(f"frame {at} does not open") from None
    return content


def seal(content: bytes, study: bytes, epoch: int, key: bytes, salt: bytes) -> bytes:
    cid = cid_of(content).encode()
    header = HEADER.pack(MAGIC, study, epoch, key_name(key), cid, len(content), salt)
    cipher = frame_key(key, header)
    return header + b"".join(
        cipher.encrypt(nonce, content[at * FRAME : (at + 1) * FRAME], header)
        for at, nonce in nonces(len(content))
    )


class SecondReader:
    """The objects of a folder, for one reading key."""

    def __init__(self, objects: Path, contracts: Contracts, private: bytes) -> None:
        self._contracts = contracts
        self._private = private
        self._public = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
        self._plain: dict[str, bytes] = {}
        self._sealed: dict[str, list[bytes]] = {}
        #: By its name.
        self.keys: dict[bytes, bytes] = {}
        for path in sorted(objects.iterdir()):
            data = path.read_bytes() if path.is_file() else b""
            if not path.is_file() or cid_of(data) != path.name:
                continue
            if data.startswith(MAGIC):
                self._sealed.setdefault(data[76:135].decode("latin-1"), []).append(data)
            elif data.startswith(b"{") and b'"format":"wardround-keys/1"' in data:
                try:
                    self._take_ring(data)
                except (WrongBytes, ValueError, KeyError, TypeError):
                    continue
            else:
                self._plain[path.name] = data

    def get(self, cid: str) -> bytes:
        """The content of a CID."""
        if cid in self._plain:
            return self._plain[cid]
        reason = WrongBytes(f"{cid} is missing")
        for data in self._sealed.get(cid, ()):
            _, study, _, name, stated, _, _ = HEADER.unpack(data[: HEADER.size])
            try:
                require(study == self._contracts.study, "of another study")
                require(name in self.keys, f"no key to {cid}")
                content = unseal(data, self.keys[name])
                require(cid_of(content) == cid == stated.decode(), "another content")
                return content
            except WrongBytes as error:
                reason = error
        raise reason

    def by_digest(self, digest: bytes) -> bytes:
        """A document of at most 1 MiB, by its SHA-256."""
        binary = b"\x01\x55\x12\x20" + digest
        return self.get("b" + base64.b32encode(binary).decode().lower().rstrip("="))

    def _take_ring(self, data: bytes) -> None:
        require(len(data) <= 1 << 20, "too long")
        ring = document(data)
        require(set(ring) == RING_KEYS, "other keys")
        contracts = self._contracts
        require(unhex(ring["study"]) == contracts.study, "of another study")
        message, signature = contracts.ring_message(ring), unhex(ring["signature"])
        signer = contracts.signer(contracts.grants, "KeyRing", message, signature)
        require(signer in contracts.writers, "signed by a stranger")
        for one in ring["readers"]:
            require(set(one) == WRAPPED_KEYS, "other keys of a reader")
            if unhex(one["publicKey"]) != self._public:
                continue
            info = ring_info(contracts.study, ring["epoch"], message["key"], one["reader"])
            key = unwrap(unhex(one["wrapped"]), self._private, info)
            require(key_name(key) == message["key"], "another key than it names")
            self.keys[message["key"]] = key


# ---------------------------------------------------------------- a round, by the rule mean


def check_round(
    reader: SecondReader, contracts: Contracts, record: Mapping[str, Any], base: bytes
) -> bytes:
    """Recompute a round of a study without privacy; returns the root of its model.

    Args:
        record: from `RoundClosed`, by the names of section 9.
        base: root of the model before.
    """
    manifest = document(reader.by_digest(record["manifest"]))
    require(manifest["base"]["root"] == "0x" + base.hex(), "another base")
    old = reader.get(manifest["base"]["cid"])
    require(vector_root(old) == base, "another base's bytes")
    entries, weighted, weights = [], [0] * (len(old) // 4), 0
    for row in manifest["contributions"]:
        update = reader.get(row["update"]["cid"])
        report = reader.get(row["report"]["cid"])
        stated = {part: unhex(row[part][key]) for part, key in MANIFEST_REFS.items()}
        require(vector_root(update) == stated["update"], "another update")
        require(sha256(report) == stated["report"], "another report")
        told = document(report)
        require((told["site"], told["round"]) == (row["site"], manifest["round"]), "its report")
        message = {
            "study": contracts.study,
            "round": manifest["round"],
            "baseModel": base,
            "site": row["site"],
            "update": stated["update"],
            "weight": row["weight"],
            "report": stated["report"],
        }
        signature = unhex(row["signature"])
        signer = contracts.signer(contracts.ward, "Contribution", message, signature)
        require(signer == row["site"], "not its site's signature")
        entry = unhex(row["site"]) + struct.pack(">Q", row["weight"])
        entries.append(entry + stated["update"] + stated["report"] + signature)
        for at, value in enumerate(struct.unpack(f"<{len(update) // 4}i", update)):
            weighted[at] += row["weight"] * value
        weights += row["weight"]
    require(entries == sorted(entries), "sites do not ascend")
    require(all(len(entry) == 157 for entry in entries), "an entry has 157 bytes")
    require(tree(entries) == record["contributions"], "other contributions")
    require((len(entries), weights) == (record["count"], record["totalWeight"]), "other totals")
    require(record["commitments"] == sha256(), "the rule and scoring have no commitments")
    before = struct.unpack(f"<{len(old) // 4}i", old)
    model = [one + total // weights for one, total in zip(before, weighted, strict=True)]
    new = struct.pack(f"<{len(model)}i", *model)
    root = vector_root(new)
    require(root == record["model"], "another model")
    require(reader.get(manifest["model"]["cid"]) == new, "another stored model")
    return root


# ---------------------------------------------------------------- protocol.md, section 12


def check_journal(data: bytes) -> str:
    """The digest of a development chain's journal, as `network.json` has it."""
    lines = data.split(b"\n")
    require(lines.pop() == b"", "the last line is cut off")
    digest = bytes(32)
    for at, line in enumerate(lines):
        value = document(line)
        stated = unhex(value.pop("digest"))
        digest = sha256(digest, canonical(value))
        require(stated == digest, f"line {at + 1} was changed")
        if at == 0:
            require(value["format"] == "wardround-journal/1", "another format")
        else:
            require(value["index"] == at - 1, "an index is missing")
    return "0x" + digest.hex()


def check_guard_log(data: bytes) -> list[dict[str, Any]]:
    """The lines of a guard's log."""
    found: list[dict[str, Any]] = []
    before = bytes(32)
    for at, line in enumerate(data.split(b"\n")[:-1], 1):
        value = document(line)
        require(value["n"] == at and unhex(value["before"]) == before, f"line {at} was changed")
        before = sha256(line, b"\n")
        found.append(value)
    require(found[0]["kind"] == "created", "its start is missing")
    return found
