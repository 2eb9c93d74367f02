"""What pages are made of besides the index's own views, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wardround.explorer.views import Funds
from wardround.explorer.web.words import reason, sentence


@dataclass(frozen=True)
class Site:
    """A site as pages name it. `colour` is its place in its study, None outside of one."""

    address: str
    name: str | None = None
    colour: int | None = None


@dataclass(frozen=True)
class EventRow:
    """One event, decoded beside raw; ids ascend with the chain."""

    id: int
    block: int
    block_hash: str
    log_index: int
    time: int
    name: str
    study: str | None
    study_name: str | None
    round: int | None
    site: str | None
    transaction: str
    contract: str
    args: Mapping[str, Any]
    topics: tuple[str, ...]
    data: str

    @property
    def words(self) -> str:
        """What happened, in a sentence."""
        return sentence(self.name, self.args)

    @property
    def fields(self) -> list[tuple[str, Any]]:
        """The decoded fields, nested ones written with a dot."""
        return [
            (name, f"{value} ({reason(value)})" if name == "reason" else value)
            for name, value in _flat("", self.args)
        ]


@dataclass(frozen=True)
class Step:
    """A point of a round's timeline; `kind` is done, now, bad or empty."""

    kind: str
    title: str
    at: int | None = None
    words: str = ""
    until: int | None = None


@dataclass(frozen=True)
class Money:
    """Where a study's money is, in the token's smallest unit: rewards and bonds together.

    ``total = paid + returned + slashed + remaining``.
    """

    funded: int
    bonds: int
    paid: int
    returned: int
    slashed: int
    due: int

    @classmethod
    def of(cls, funds: Funds, earned: int) -> Money:
        """Put the index's two equations together; `earned` is by the last standing record."""
        paid = int(funds.paid)
        return cls(
            funded=int(funds.funded),
            bonds=int(funds.bonds_posted),
            paid=paid,
            returned=int(funds.refunded) + int(funds.bonds_released),
            slashed=int(funds.slashed),
            due=max(0, earned - paid),
        )

    @property
    def total(self) -> int:
        """All that came in."""
        return self.funded + self.bonds

    @property
    def remaining(self) -> int:
        """What is still there."""
        return self.total - self.paid - self.returned - self.slashed


@dataclass(frozen=True)
class Missed:
    """A member that is not in a round."""

    site: Site
    reason: str
    meaning: str = ""
    evidence: str = ""


def _flat(prefix: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [
            row
            for key, inner in value.items()
            for row in _flat(f"{prefix}.{key}" if prefix else key, inner)
        ]
    if isinstance(value, list | tuple):
        return [(prefix, ", ".join(map(str, value)) or "none")]
    return [(prefix, value)]
