"""Who has earned what, and the tree that lets a site claim it with one proof.

Amounts are in the token's smallest unit. The tree is OpenZeppelin's ``StandardMerkleTree`` of
``(address site, uint256 cumulative)``, so any Ethereum tool can build a claim proof.

Source:
    OpenZeppelin merkle-tree, ``StandardMerkleTree``; contracts ``MerkleProof.verify``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eth_utils import keccak

from wardround.protocol.errors import Malformed, nothing_to_aggregate
from wardround.protocol.identifiers import Root, SiteAddress


def split_floor(reward: int, scores: Mapping[SiteAddress, int]) -> dict[SiteAddress, int]:
    """Split one round's reward in proportion to scores, rounding each share down.

    Args:
        reward: what the round may pay at most, >= 0.
        scores: non-negative integers by site.
    Returns:
        Share by site; together at most ``reward``. All zero when no site scored: what is not
        earned stays in the study.
    """
    total = sum(scores.values())
    if total == 0:
        return dict.fromkeys(scores, 0)
    return {site: reward * score // total for site, score in scores.items()}


def accumulate(
    before: Mapping[SiteAddress, int], shares: Mapping[SiteAddress, int]
) -> dict[SiteAddress, int]:
    """Add a round's shares to what sites had earned before; sites are never forgotten."""
    total = dict(before)
    for site, share in shares.items():
        total[site] = total.get(site, 0) + share
    return dict(sorted(total.items(), key=lambda item: item[0].lower()))


@dataclass(frozen=True)
class RewardTree:
    """A claim tree: ``nodes[0]`` is the root, leaves stand at the end, highest hash first."""

    nodes: tuple[bytes, ...]
    positions: Mapping[SiteAddress, int]

    @property
    def root(self) -> Root:
        """What the record commits to, 32 bytes."""
        return Root(self.nodes[0])

    def proof(self, site: SiteAddress) -> list[bytes]:
        """Siblings from the site's leaf upwards.

        Raises:
            Malformed: the site is not in the tree.
        """
        if site not in self.positions:
            raise Malformed(f"claim of {site}", "the site has no rewards in this tree")
        index = self.positions[site]
        path = []
        while index:
            path.append(self.nodes[index + 1 if index % 2 else index - 1])
            index = (index - 1) // 2
        return path


def reward_leaf(site: SiteAddress, cumulative: int) -> bytes:
    """Hash one claim: ``keccak(keccak(abi.encode(site, cumulative)))``."""
    return keccak(keccak(bytes(12) + bytes.fromhex(site[2:]) + cumulative.to_bytes(32, "big")))


def reward_tree(cumulative: Mapping[SiteAddress, int]) -> RewardTree:
    """Build the claim tree.

    Args:
        cumulative: amount earned so far by site, at least one site.
    Raises:
        ProtocolError: no sites.
    """
    if not cumulative:
        raise nothing_to_aggregate()
    leaves = sorted((reward_leaf(site, amount), site) for site, amount in cumulative.items())
    size = 2 * len(leaves) - 1
    nodes = [b""] * size
    positions = {}
    for order, (leaf, site) in enumerate(leaves):
        nodes[size - 1 - order] = leaf
        positions[site] = size - 1 - order
    for index in range(size - 1 - len(leaves), -1, -1):
        nodes[index] = _pair(nodes[2 * index + 1], nodes[2 * index + 2])
    return RewardTree(tuple(nodes), positions)


def _pair(left: bytes, right: bytes) -> bytes:
    return keccak(min(left, right) + max(left, right))
