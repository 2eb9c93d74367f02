"""What an entry of a round earns, in the token's smallest unit.

Source:
    WardRound.sol: claim.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from wardround.protocol.contribution import Entry
from wardround.protocol.evidence import Leaf
from wardround.protocol.identifiers import SiteAddress
from wardround.protocol.record import Closing


def share_floor(reward: int, weight: int, total_weight: int) -> int:
    """Share of a round's reward that one weight earns, rounded down.

    Args:
        reward: what the round pays at most, >= 0.
        weight: the entry's, >= 1.
        total_weight: of the round's record, >= 1; shares together are at most ``reward`` where it
            is the sum of all weights.
    """
    return reward * weight // total_weight


def shares_floor(
    reward: int, entries: Iterable[Entry], total_weight: int
) -> dict[SiteAddress, int]:
    """Shares of a round's reward by site, each rounded down; see `share_floor`."""
    return {entry.site: share_floor(reward, entry.weight, total_weight) for entry in entries}


@dataclass(frozen=True)
class Earning:
    """A site's entry in a final round, as the contract takes it to pay the site.

    Attributes:
        entry: packed, with its place under the record's ``contributions``.
    """

    round: int
    closing: Closing
    entry: Leaf

    def share(self, reward: int) -> int:
        """What it earns of a round's reward; see `share_floor`."""
        weight = Entry.unpack(self.entry.data).weight
        return share_floor(reward, weight, self.closing.record.total_weight)

    def abi(self) -> tuple[Any, ...]:
        """The tuple that the contract's ABI takes."""
        entry = self.entry
        return (self.round, self.closing.abi(), entry.data, entry.index, list(entry.path))
