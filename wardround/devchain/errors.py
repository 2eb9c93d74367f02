"""Errors of development chains.

ChainError                also: anvil did not start, or another process uses the journal
├── AnvilMissing          the anvil binary is not on this machine
└── JournalAltered        a line is not the one that was written, or was cut off
"""

from __future__ import annotations

from wardround.chain.errors import ChainError


class AnvilMissing(ChainError):
    """The anvil binary is not on this machine."""

    code = "anvil-missing"

    def __init__(self, looked_in: tuple[str, ...]) -> None:
        super().__init__(
            f"anvil was not found in {', '.join(looked_in)}: "
            "run `npm install --global @foundry-rs/anvil` (in a checkout, `make setup`), "
            "or name the binary in WARDROUND_ANVIL."
        )


class JournalAltered(ChainError):
    """A line of a journal is not the one that was written.

    Attributes:
        truncated: it is the last line, and was cut off, as by a crash.
    """

    code = "journal-altered"

    def __init__(self, path: str, line: int, reason: str, *, truncated: bool = False) -> None:
        self.path = path
        self.line = line
        self.reason = reason
        self.truncated = truncated
        super().__init__(
            f"{path}:{line}: the journal ends inside a line, as after a crash: "
            "open it for appending to drop that line."
            if truncated
            else f"{path}:{line}: the journal was altered ({reason}): use a true copy."
        )


def anvil_failed(reason: str) -> ChainError:
    """The anvil process did not come up."""
    return ChainError(f"anvil did not start ({reason}): try it by hand with `anvil`.")


def journal_in_use(path: object) -> ChainError:
    """Another process appends to the journal."""
    return ChainError(f"{path}: another process appends to this journal: end it first.")
