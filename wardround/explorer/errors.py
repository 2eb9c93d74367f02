"""Errors of the explorer.

ExplorerError
├── IndexUnusable   the index file has another format, chain or contract
├── NodeUnreliable  a node's answer is incomplete or contradicts itself or the index (retryable)
├── NotIndexed      the index has nothing of that name
└── QueryInvalid    a parameter with a value that it cannot have
"""

from __future__ import annotations

from typing import ClassVar

from wardround.protocol.errors import Retryable, WardroundError


class ExplorerError(WardroundError):
    """The explorer cannot read a chain, or cannot write what was read from it."""

    code: ClassVar[str] = "explorer"


class IndexUnusable(ExplorerError):
    """The index file has another format, chain or contract."""

    code: ClassVar[str] = "index-unusable"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"the index {path} cannot be used: {reason}; name another with --index.")


class NodeUnreliable(ExplorerError, Retryable):
    """A node's answer is incomplete or contradicts itself or the index; nothing was indexed."""

    code: ClassVar[str] = "node-unreliable"


class NotIndexed(ExplorerError):
    """The index has nothing of that name.

    Attributes:
        first_block, last_block: the blocks that are indexed.
    """

    code: ClassVar[str] = "not-indexed"

    def __init__(self, what: str, first_block: int, last_block: int) -> None:
        self.first_block = first_block
        self.last_block = last_block
        super().__init__(f"no {what} in the indexed blocks {first_block} to {last_block}.")


class QueryInvalid(ExplorerError):
    """A parameter with a value that it cannot have."""

    code: ClassVar[str] = "query-invalid"

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(f"{parameter}: {reason}.")
