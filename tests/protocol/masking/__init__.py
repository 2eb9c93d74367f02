"""The vectors that every implementation of masking must reach."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wardround.protocol.contribution import Domain
from wardround.protocol.identifiers import address_of

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "masking.json").read_text()
)
DOMAIN = Domain(VECTORS["domain"]["chain_id"], address_of(VECTORS["domain"]["contract"]))


def read(text: str) -> bytes:
    """Bytes of a vector's hexadecimal."""
    return bytes.fromhex(text[2:])
