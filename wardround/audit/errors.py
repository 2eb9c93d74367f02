"""Errors of an audit.

WardroundError
├── ArchiveInvalid        an archive that is none, or that does not prove what it claims
└── AuditIncomplete       what is public holds, and encrypted vectors were not read
"""

from __future__ import annotations

from wardround.protocol.errors import WardroundError


class ArchiveInvalid(WardroundError):
    """An evidence archive that is none, or that does not prove what it claims."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"archive {path}: {reason}: do not rely on it.")


class AuditIncomplete(WardroundError):
    """Everything public holds, but vectors are encrypted and this reader has no key to them."""

    def __init__(self, unread: int) -> None:
        self.unread = unread
        super().__init__(
            f"what is public holds, but {unread} vectors are encrypted and were not read, so "
            "models and rewards were not recomputed: ask the study's sponsor for a grant, and "
            "name your reading key (--reading-key FILE, or '&key=FILE' in the --store address)."
        )
