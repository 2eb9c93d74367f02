"""Errors of the explorer.

ExplorerError
├── IndexUnusable         the index file is of another format, or of another chain or contract
├── NodeLied              a node's answer contradicts itself, or the hash that it states
├── NodeIncomplete        a node left out what it must have (retryable)
├── Moved                 another process has written meanwhile: look again (retryable)
├── EventUnknown          a log of the contract that is none of its events
├── EventUndecodable      a log whose bytes are not those of its event
├── EventOutOfPlace       an event that cannot follow what is indexed
├── NotIndexed            the index has nothing under that name
├── QueryInvalid          a filter or cursor that means nothing
└── EvidenceIncomplete    something that an archive needs cannot be had
"""

from __future__ import annotations

from wardround.protocol.errors import Retryable, WardroundError


class ExplorerError(WardroundError):
    """Something about looking at a chain."""


class IndexUnusable(ExplorerError):
    """The index file is of another format, or of another chain or contract."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"the index {path} cannot be used: {reason}; name another with --index.")


class NodeLied(ExplorerError):
    """A node's answer contradicts itself, or the hash that it states."""

    def __init__(self, url: str, block: int, reason: str) -> None:
        self.url = url
        self.block = block
        self.reason = reason
        super().__init__(f"{url} lies about block {block}: {reason}; ask another node.")


class NodeIncomplete(ExplorerError, Retryable):
    """A node left out what it must have; it may have been interrupted while it answered."""

    def __init__(self, url: str, block: int, reason: str) -> None:
        self.url = url
        self.block = block
        self.reason = reason
        super().__init__(f"{url} leaves something out at block {block}: {reason}; asking again.")


class Moved(ExplorerError, Retryable):
    """The stored tip is another than a moment ago: another process writes the same index."""

    def __init__(self, expected: int, found: int) -> None:
        self.expected = expected
        self.found = found
        super().__init__(f"the index went from block {expected} to {found} meanwhile: look again.")


class EventUnknown(ExplorerError):
    """A log of the contract that is none of its events."""

    def __init__(self, contract: str, block: int, log_index: int, topic: str) -> None:
        self.contract = contract
        self.block = block
        self.log_index = log_index
        self.topic = topic
        super().__init__(
            f"block {block}, log {log_index}: {contract} has no event {topic}: "
            "this is another contract, or another version of it; nothing behind it is indexed."
        )


class EventUndecodable(ExplorerError):
    """A log whose bytes are not those of its event."""

    def __init__(self, name: str, block: int, log_index: int, reason: str) -> None:
        self.name = name
        self.block = block
        self.log_index = log_index
        self.reason = reason
        super().__init__(
            f"block {block}, log {log_index}: {name} cannot be read ({reason}): "
            "nothing behind it is indexed; ask another node."
        )


class EventOutOfPlace(ExplorerError):
    """An event that cannot follow what is indexed: something before it is missing."""

    def __init__(self, name: str, block: int, log_index: int, reason: str) -> None:
        self.name = name
        self.block = block
        self.log_index = log_index
        self.reason = reason
        super().__init__(
            f"block {block}, log {log_index}: {name} cannot stand here ({reason}): "
            "an event before it is missing; ask another node, or begin at an earlier block."
        )


class NotIndexed(ExplorerError):
    """The index has nothing under that name."""

    def __init__(self, what: str, name: str, first_block: int, last_block: int) -> None:
        self.what = what
        self.name = name
        self.first_block = first_block
        self.last_block = last_block
        super().__init__(f"no {what} {name} in blocks {first_block} to {last_block}.")


class QueryInvalid(ExplorerError):
    """A filter or cursor that means nothing."""

    def __init__(self, parameter: str, reason: str) -> None:
        self.parameter = parameter
        self.reason = reason
        super().__init__(f"{parameter}: {reason}.")


class EvidenceIncomplete(ExplorerError):
    """Something that an archive needs cannot be had."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"no archive was made: {reason}.")
