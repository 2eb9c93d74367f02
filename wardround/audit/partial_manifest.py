"""What can be read of a manifest, however wrong it is.

Nothing here is trusted: every part is compared with a root on chain before it is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.commitments import ROW_BYTES
from wardround.protocol.contribution import Entry
from wardround.protocol.errors import ProtocolError
from wardround.protocol.identifiers import bytes32
from wardround.protocol.manifest import MANIFEST_MAX_BYTES
from wardround.store import Store
from wardround.store.errors import StoreError

#: What reading a part may meet, of a document that may be anything.
_UNREADABLE = (
    ProtocolError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
)


@dataclass(frozen=True)
class PartialManifest:
    """The parts that could be read; None, or nothing, where one could not.

    Attributes:
        entries: packed, in the order of the document.
        cids: of the model, the updates and committed rows, by root.
        commitments: roots by name.
    """

    entries: bytes | None
    cids: Mapping[bytes, str]
    commitments: Mapping[str, bytes]

    @classmethod
    def read(cls, store: Store, digest: bytes) -> PartialManifest:
        """Read what there is under a digest; never fails."""
        try:
            value = json.loads(bytes(store.map(cid_from_sha256(digest), MANIFEST_MAX_BYTES)))
        except (StoreError, ValueError, RecursionError):
            return cls(None, {}, {})
        return cls(
            _or_none(_packed_entries, value),
            {**(_or_none(_cids, value) or {}), **(_or_none(_row_cids, value) or {})},
            _or_none(_commitments, value) or {},
        )


def _or_none(read: Any, value: Any) -> Any:
    try:
        return read(value)
    except _UNREADABLE:
        return None


def _packed_entries(value: Any) -> bytes:
    rows = [
        bytes.fromhex(row["site"][2:])
        + row["weight"].to_bytes(8, "big")
        + bytes32(row["update"]["root"], "update")
        + bytes32(row["report"]["sha256"], "report")
        + bytes.fromhex(row["signature"][2:])
        for row in value["contributions"]
    ]
    return b"".join(Entry.unpack(row).pack() for row in rows)


def _cids(value: Any) -> dict[bytes, str]:
    vectors = [value["model"], *(row["update"] for row in value["contributions"])]
    return {bytes32(one["root"], "root"): str(one["cid"]) for one in vectors}


def _row_cids(value: Any) -> dict[bytes, str]:
    rows = value["commitments"].values()
    return {bytes32(one["root"], "root"): str(one["cid"]) for one in rows}


def _commitments(value: Any) -> dict[str, bytes]:
    # Of other names no proof speaks, and not each of them can be hashed.
    named = ((name, one) for name, one in value["commitments"].items() if name in ROW_BYTES)
    return {name: bytes32(one["root"], "root") for name, one in named}
