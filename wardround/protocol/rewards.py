"""What an entry of a round earns, in the token's smallest unit.

Source:
    WardRound.sol: claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wardround.protocol.commitments import running_total_of, score_of
from wardround.protocol.contribution import Entry
from wardround.protocol.evidence import Leaf
from wardround.protocol.identifiers import SiteAddress
from wardround.protocol.record import Closing


def share_floor(reward: int, part: int, total: int) -> int:
    """Share of a round's reward that one weight or score earns, rounded down.

    Args:
        reward: what the round pays at most, >= 0.
        part: the entry's weight, or its score.
        total: the record's total weight, or the last running total of the scores, >= 1; shares
            together are at most ``reward`` where it is the sum of all parts.
    """
    return reward * part // total


def shares_floor(
    reward: int, entries: Sequence[Entry], total_weight: int, scores: Sequence[int] = ()
) -> dict[SiteAddress, int]:
    """Shares of a round's reward by site, each rounded down; see `share_floor`.

    Args:
        reward: what the round pays at most.
        entries: all of the round, or with weights some.
        total_weight: of the round's record.
        scores: of the entries, in their order, where the study pays by scores. Where they are all
            zero, the round pays by weight.
    """
    total = sum(scores)
    parts = scores if total else [entry.weight for entry in entries]
    pairs = zip(entries, parts, strict=True)
    return {entry.site: share_floor(reward, part, total or total_weight) for entry, part in pairs}


@dataclass(frozen=True)
class ScoreProof:
    """An entry's score, and the sum of all, as a record commits to them.

    Attributes:
        named: ``scores`` among the record's named commitments.
        row: the entry's, under the root that is named.
        last: the last row, whose running total is the sum.
    """

    named: Leaf
    row: Leaf
    last: Leaf

    @property
    def opening(self) -> bytes:
        """The three openings, one behind the other."""
        return self.named.opening + self.row.opening + self.last.opening


@dataclass(frozen=True)
class Earning:
    """A site's entry in a final round, as the contract takes it to pay the site.

    Attributes:
        entry: packed, with its place under the record's ``contributions``.
        score: where the study pays by scores.
    """

    round: int
    closing: Closing
    entry: Leaf
    score: ScoreProof | None = None

    def share(self, reward: int) -> int:
        """What it earns of a round's reward; see `share_floor`."""
        if self.score is not None:
            total = running_total_of(self.score.last.data)
            if total:
                return share_floor(reward, score_of(self.score.row.data), total)
        weight = Entry.unpack(self.entry.data).weight
        return share_floor(reward, weight, self.closing.record.total_weight)

    def abi(self) -> tuple[Any, ...]:
        """The tuple that the contract's ABI takes."""
        entry = self.entry
        data = entry.data if self.score is None else entry.data + self.score.opening
        return (self.round, self.closing.abi(), data, entry.index, list(entry.path))
