"""What a round commits to by name, beside its contributions, model and manifest.

The contract keeps the root alone, so a new kind of commitment changes no layout on chain. Which
names a round has follows from the study's rule and scoring; each stands for the root over rows, one
an entry or one a pair of entries, that are taken from whole vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import combinations

from wardround.protocol.errors import Malformed
from wardround.protocol.fixed_point import IntVector
from wardround.protocol.identifiers import Root
from wardround.protocol.merkle import entries_root
from wardround.protocol.record import RuleId, ScoringId
from wardround.protocol.rules import CLIP_ONE, Rule, clip_factors, krum_ranks
from wardround.protocol.sum_tree import SumTree

DISTANCES = "distances"
NORMS = "norms"
RANKS = "ranks"
SCORES = "scores"
#: Bytes of a row by its name. A reader refuses any other name.
ROW_BYTES = {DISTANCES: 64, NORMS: 64, RANKS: 32, SCORES: 128}

_BY_RULE = {RuleId.CLIPPED_MEAN: (NORMS,), RuleId.MULTI_KRUM: (DISTANCES, RANKS)}
_SHIFT = CLIP_ONE.bit_length() - 1


def names_of(rule: RuleId, scoring: ScoringId) -> tuple[str, ...]:
    """The names that each round of a study has, ascending."""
    scored = (SCORES,) if scoring is ScoringId.PROJECTION else ()
    return _BY_RULE.get(rule, ()) + scored


def commitments_root(named: Mapping[str, bytes]) -> Root:
    """Commit to named roots.

    Args:
        named: 32 bytes by name.
    Returns:
        The tree hash over `named_leaves`; of no names, the SHA-256 of nothing.
    Source:
        RFC 9162 section 2.1.
    """
    return entries_root(named_leaves(named))


def named_leaves(named: Mapping[str, bytes]) -> list[bytes]:
    """``SHA-256(name in UTF-8) || root``, 64 bytes each, ascending by name as bytes."""
    rows = sorted((name.encode(), root) for name, root in named.items())
    return [sha256(name).digest() + root for name, root in rows]


@dataclass(frozen=True)
class Commitments:
    """What a round commits to by name.

    Attributes:
        rows: by name, as `names_of` has them; of entries in their order, of pairs ``i < j`` in
            lexicographic order.
    """

    rows: Mapping[str, tuple[bytes, ...]]

    @cached_property
    def roots(self) -> dict[str, Root]:
        """The tree hash over the rows of each name."""
        return {name: entries_root(rows) for name, rows in self.rows.items()}

    @cached_property
    def root(self) -> Root:
        """What the record has of them."""
        return commitments_root(self.roots)

    @property
    def scores(self) -> tuple[int, ...]:
        """By what the round's reward is split, in the order of the entries; none by weight."""
        return tuple(score_of(row) for row in self.rows.get(SCORES, ()))

    def data(self, name: str) -> bytes:
        """The rows of a name one behind the other, as they are stored."""
        return b"".join(self.rows[name])


def commit(
    rule: Rule,
    scoring: ScoringId,
    weights: Sequence[int],
    updates: Sequence[IntVector],
    change: IntVector,
) -> Commitments:
    """Compute everything that a round commits to by name.

    Args:
        rule: the study's.
        scoring: the study's.
        weights: of the entries, in their order.
        updates: int32 arrays of shape (P,), one an entry; not read where there are no names.
        change: the new model less the one before, shape (P,).
    """
    rows: dict[str, tuple[bytes, ...]] = {}
    factors = [CLIP_ONE] * len(weights)
    if rule.id is RuleId.CLIPPED_MEAN:
        norms = [SumTree.of_products(update, update) for update in updates]
        factors = clip_factors([norm.total for norm in norms])
        rows[NORMS] = tuple(_word(norm.total) + norm.root for norm in norms)
    if rule.id is RuleId.MULTI_KRUM:
        pairs = list(combinations(range(len(updates)), 2))
        trees = [SumTree.of_distances(updates[i], updates[j]) for i, j in pairs]
        distances = {pair: one.total for pair, one in zip(pairs, trees, strict=True)}
        rows[DISTANCES] = tuple(_word(one.total) + one.root for one in trees)
        rows[RANKS] = tuple(map(_word, krum_ranks(distances, len(updates), rule.argument)))
    if scoring is ScoringId.PROJECTION:
        products = [SumTree.of_products(update, change) for update in updates]
        rows[SCORES] = _score_rows(weights, factors, products)
    return Commitments(rows)


def projection_score(weight: int, factor: int, product: int) -> int:
    """What a site's update is worth to a round.

    Args:
        weight: the entry's.
        factor: what the rule scales the update by, in 65536ths.
        product: ``sum(q_i A_i)`` of the update and the change of the model.
    Returns:
        ``max(0, weight * factor * product) >> 16``.
    Source:
        The Shapley value of the game that pays a set of sites the length of its part of the
        change along the whole change.
    """
    return max(0, weight * factor * product) >> _SHIFT


def _score_rows(
    weights: Sequence[int], factors: Sequence[int], products: Sequence[SumTree]
) -> tuple[bytes, ...]:
    rows, running = [], 0
    for weight, factor, product in zip(weights, factors, products, strict=True):
        score = projection_score(weight, factor, product.total)
        running += score
        rows.append(_word(product.total) + product.root + _word(score) + _word(running))
    return tuple(rows)


def score_of(row: bytes) -> int:
    """The score in a row of ``scores``."""
    return int.from_bytes(row[64:96], "big")


def running_total_of(row: bytes) -> int:
    """The sum of scores up to a row of ``scores``, its own included."""
    return int.from_bytes(row[96:128], "big")


def split_rows(name: str, data: bytes) -> list[bytes]:
    """Cut stored rows apart.

    Raises:
        Malformed: not a whole number of rows.
    """
    size = ROW_BYTES[name]
    if len(data) % size:
        raise Malformed(name, f"{len(data)} bytes are not a multiple of {size}")
    return [data[start : start + size] for start in range(0, len(data), size)]


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big", signed=True)
