"""Errors of development chains.

WardroundError
├── AnvilMissing          the anvil binary is not on this machine
├── AnvilFailed           anvil did not start
└── JournalError
    ├── JournalAltered    a line is not the one that was written
    ├── JournalTruncated  the last line was cut off by a crash
    └── JournalInUse      another process appends to it
"""

from __future__ import annotations

from wardround.chain.errors import ChainError
from wardround.protocol.errors import WardroundError


class AnvilMissing(ChainError):
    """The anvil binary is not on this machine."""

    def __init__(self, looked_in: tuple[str, ...]) -> None:
        self.looked_in = looked_in
        super().__init__(
            f"anvil was not found in {', '.join(looked_in)}: "
            "run `npm install --global @foundry-rs/anvil` (in a checkout, `make setup`), "
            "or name the binary in WARDROUND_ANVIL."
        )


class AnvilFailed(ChainError):
    """The anvil process did not come up."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"anvil did not start ({reason}): try it by hand with `anvil`.")


class JournalError(WardroundError):
    """Something about the record of a development chain."""


class JournalAltered(JournalError):
    """A line of a journal is not the one that was written."""

    def __init__(self, path: str, line: int, reason: str) -> None:
        self.path = path
        self.line = line
        self.reason = reason
        super().__init__(f"{path}:{line}: the journal was altered ({reason}): use a true copy.")


class JournalTruncated(JournalError):
    """The last line was cut off while it was written."""

    def __init__(self, path: str, line: int) -> None:
        self.path = path
        self.line = line
        super().__init__(
            f"{path}:{line}: the journal ends inside a line, as after a crash: "
            "open it for appending to drop that line."
        )


class JournalInUse(JournalError):
    """Another process appends to the journal."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"{path}: another process appends to this journal: end it first.")
