"""What proves a number of a whole update wrong: a norm, a distance, a rank or a score.

A record commits to such numbers by name. Each piece of evidence is openings one behind the other,
leaf and path each, from the record downwards; all lengths follow from the places.

Source:
    RFC 9162 section 2.1.3 (inclusion proofs); Scores.sol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wardround.protocol.errors import SpecificationError
from wardround.protocol.evidence import Evidence, What
from wardround.protocol.record import RuleId
from wardround.protocol.sum_tree import PAGE_VALUES

#: Most entries of a round in which a wrong rank of Multi-Krum can be proven. The proof opens all
#: distances of an entry in one transaction: of n entries n - 1 rows of 64 bytes, each with its path
#: in a tree of n (n - 1) / 2 leaves, from n = 182 on of 15 siblings of 32 bytes. 544 (n - 1) bytes,
#: and 1,348 for the rest of a commitment's reveal, have to fit into `CALLDATA_LIMIT`: at 235 they
#: are 128,644 of 129,024 bytes. Their gas is 6.1 M there, and a proof may take 8 M.
RANKED_SITES = 235
#: And in which a wrong score, or a coordinate counted in steps, of the clipped mean can: either
#: proof brings all norms, 64 bytes an entry, to sort and to hash. At 1,400 the reveal of a score
#: takes 7.3 M gas and 91 kB.
CLIPPED_SITES = 1_400
#: The most sites of a round, by rule, of which everything can be proven in one transaction each.
PROVABLE_SITES: Mapping[RuleId, int] = {
    RuleId.MULTI_KRUM: RANKED_SITES,
    RuleId.CLIPPED_MEAN: CLIPPED_SITES,
}
_UNPROVABLE = {RuleId.MULTI_KRUM: "a rank", RuleId.CLIPPED_MEAN: "a score or coordinate"}


@dataclass(frozen=True)
class NodeEvidence(Evidence):
    """One number of a sum tree, and what it is the sum of.

    Attributes:
        what: the named commitment that the tree is under.
        row: whose tree.
        page: of the tree; the one behind the last stands for the row's total.
        place: in the page.
        openings: of the commitment, the row and the page, and of what is below the number.
    """

    challenge = "challengeNode"
    what: What
    row: int
    page: int
    place: int
    openings: bytes

    @property
    def calldata_bytes(self) -> int:
        return len(self.openings)


@dataclass(frozen=True)
class ScoreEvidence(Evidence):
    """An entry's score, the sum of scores before it, its weight, and all norms that clip."""

    challenge = "challengeScore"
    index: int
    openings: bytes

    @property
    def calldata_bytes(self) -> int:
        return len(self.openings)


@dataclass(frozen=True)
class RankEvidence(Evidence):
    """An entry's rank, and its distances to all others."""

    challenge = "challengeRank"
    index: int
    openings: bytes

    @property
    def calldata_bytes(self) -> int:
        return len(self.openings)


def check_provable(rule: RuleId, sites: int, of: object) -> None:
    """Refuse a rule for more sites than what it takes from whole updates can be proven of.

    Args:
        rule: the study's.
        sites: that a round may have.
        of: the file or table at fault, for the error.
    Raises:
        SpecificationError: names the bound.
    """
    if is_unprovable(rule, sites):
        reason = (
            f"{sites} sites are too many for {rule.name.lower()}: with more than "
            f"{PROVABLE_SITES[rule]} no transaction holds the proof that {_UNPROVABLE[rule]} is "
            "wrong. Take fewer, or another rule"
        )
        raise SpecificationError(of, reason, key="aggregation.rule")


def is_unprovable(rule: RuleId, sites: int) -> bool:
    """Whether something wrong in a round of so many sites cannot be proven."""
    return sites > PROVABLE_SITES.get(rule, sites)


def unprovable_words(rule: RuleId) -> str:
    """What of a round cannot be proven beyond `PROVABLE_SITES`, such as "a rank"."""
    return _UNPROVABLE[rule]


def path_length(index: int, size: int) -> int:
    """Siblings from a leaf of a tree, which it must have, up to the root."""
    length, last = 0, size - 1
    while last:
        # An even last node has no sibling: it moves up as it is.
        length += index % 2 == 1 or index != last
        index, last = index // 2, last // 2
    return length


def page_count(chunks: int) -> int:
    """Pages of the sum tree over so many chunks."""
    pages = 0
    while True:
        chunks = -(-chunks // PAGE_VALUES)
        pages += chunks
        if chunks == 1:
            return pages


@dataclass(frozen=True)
class Below:
    """What a number of a sum tree is made of.

    Attributes:
        is_chunk: whether that is a chunk of vectors; else it is a page.
        index: of the chunk, or of the page among all.
        exists: where not, the number fills its page, and must be zero.
    """

    is_chunk: bool
    index: int
    exists: bool

    @classmethod
    def of(cls, page: int, place: int, chunks: int) -> Below:
        """Find it; the page behind the last is made of the last one."""
        start, under, values, is_chunk = 0, 0, chunks, True
        while True:
            pages = -(-values // PAGE_VALUES)
            if page < start + pages:
                break
            is_chunk, under, start, values = False, start, start + pages, pages
            if pages == 1:
                break
        index = (page - start) * PAGE_VALUES + place
        return cls(is_chunk, under + index, index < values)
