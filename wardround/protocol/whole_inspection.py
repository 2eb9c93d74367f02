"""Look through what a round commits to by name for what is wrong, and cut the evidence out.

All of it follows from entries, updates and models, so it is computed again and compared: names,
then rows, then sum trees. What is committed to and not to be had is demanded, page by page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from wardround.protocol.commitments import (
    DISTANCES,
    NORMS,
    RANKS,
    ROW_BYTES,
    SCORES,
    Commitments,
    commit,
    named_leaves,
    names_of,
)
from wardround.protocol.contribution import Entry
from wardround.protocol.evidence import CoordinateEvidence, Demand, Evidence, What
from wardround.protocol.fixed_point import IntVector
from wardround.protocol.inspection import chunk_leaf, coordinate_evidence, entry_leaf
from wardround.protocol.merkle import CHUNK_BYTES, entries_root, inclusion_proof, leaf_hash
from wardround.protocol.record import RuleId, ScoringId
from wardround.protocol.rules import Rule, krum_selected
from wardround.protocol.sum_tree import PAGE_VALUES, SumTree
from wardround.protocol.whole_evidence import (
    Below,
    NodeEvidence,
    RankEvidence,
    ScoreEvidence,
    page_count,
    path_length,
)

#: Finds rows, or pages of a sum tree, that may be stored: by root, number and bytes of each.
Find = Callable[[bytes, int, int], bytes | None]
#: What was shown on chain of named commitments, by kind, row and page.
Openings = Mapping[tuple[What, int, int], bytes]


@dataclass(frozen=True)
class WholeRound:
    """A round whose entries and vectors are known, and what is known of its commitments.

    Attributes:
        rule: the study's.
        scoring: the study's.
        entries: packed, in the order of the record, whose count is theirs.
        updates: int32, shape (P,), one an entry.
        base: int32, shape (P,).
        model: the recorded one, int32, shape (P,).
        committed: the record's root.
        named: roots by name as the round's manifest has them, if it leads to that root; else none.
        find: rows and trees by root.
        openings: what was shown on chain.
    """

    rule: Rule
    scoring: ScoringId
    entries: Sequence[bytes]
    updates: Sequence[IntVector]
    base: IntVector
    model: IntVector
    committed: bytes
    named: Mapping[str, bytes]
    find: Find
    openings: Openings

    # ---------------------------------------------------------------- what should be

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What the study's rounds commit to, ascending."""
        return names_of(self.rule.id, self.scoring)

    @cached_property
    def change(self) -> IntVector:
        """What the recorded model adds to the base, int64, shape (P,)."""
        return self.model.astype(np.int64) - self.base

    @cached_property
    def expected(self) -> Commitments:
        """What follows from entries, updates and the recorded model."""
        weights = [Entry.unpack(one).weight for one in self.entries]
        return commit(self.rule, self.scoring, weights, self.updates, self.change)

    # ---------------------------------------------------------------- what is wrong

    def first_wrong(self) -> tuple[str, Evidence] | None:
        """Name the first number that is wrong, with its proof or a demand; None if none is."""
        if self.expected.root == self.committed:
            return None
        for name in self.names:
            if name not in self._roots:
                words = f"the {name} that the round commits to are not to be had"
                return words, self._demand(name, len(self.expected.rows[name]) - 1)
        for name in self.names:
            wanted = self.expected.rows[name]
            if self._roots[name] == self.expected.roots[name]:
                continue
            rows = self._rows(name)
            if rows is None:
                words = f"the {name} that the round commits to are not to be had"
                return words, self._demand(name, self._first_unknown_row(name, len(wanted)))
            for index, (row, right) in enumerate(zip(rows, wanted, strict=True)):
                if row != right:
                    return self._wrong_row(name, index, rows, right)
        return None

    def coordinate(self, coordinate: int) -> CoordinateEvidence | None:
        """Prove a coordinate by norms or ranks, which must be right; None where they are not."""
        evidence = coordinate_evidence(
            self.rule, coordinate, b"".join(self.entries), self.updates, self.base, self.model
        )
        name = scaled_by(self.rule)
        if name is None:
            return evidence
        if self._roots.get(name) != self.expected.roots[name] or len(self._roots) < len(self.names):
            return None
        return with_rows(evidence, self.rule, self._roots, self.expected.rows[name])

    # ---------------------------------------------------------------- rows

    def _wrong_row(
        self, name: str, index: int, rows: Sequence[bytes], right: bytes
    ) -> tuple[str, Evidence]:
        row = rows[index]
        head = self._named_opening(name) + _row_opening(rows, index)
        words = f"{name}: the row of {self._owner(name, index)} is another"
        if name == RANKS:
            distances = self.expected.rows[DISTANCES]
            head += self._named_opening(DISTANCES)
            head += b"".join(
                _row_opening(distances, pair)
                for pair in range(len(distances))
                if index in owners_of(DISTANCES, pair, len(self.entries))
            )
            return words, RankEvidence(index, head)
        tree = tree_of(name, index, self.updates, self.change)
        if row[32:64] != right[32:64]:
            return words, self._wrong_tree(name, index, row, tree, head)
        pages = len(tree.data) // CHUNK_BYTES
        if row[:32] != right[:32]:
            head += chunk_leaf(tree.data, pages - 1).opening
            return words, NodeEvidence(_kind(name), index, pages, 0, head)
        if index:
            head += _row_opening(rows, index - 1)
        head += entry_leaf(self.entries, index).opening
        if NORMS in self.names:
            head += self._named_opening(NORMS) + self.expected.data(NORMS)
        return words, ScoreEvidence(index, head)

    def _wrong_tree(
        self, name: str, row: int, data: bytes, tree: SumTree, head: bytes
    ) -> NodeEvidence | Demand:
        """Find a number that is not the sum of what is below it, or demand a page on the way."""
        chunks, kind = -(-self.model.nbytes // CHUNK_BYTES), _kind(name)
        pages = page_count(chunks)
        shown = self._pages(name, row, data[32:64], pages)
        last = pages - 1
        if last not in shown:
            return Demand(kind, last, row=row)
        if _total(shown[last]) != _signed(data[:32]):
            return NodeEvidence(kind, row, pages, 0, head + shown[last])
        for page in sorted(shown, reverse=True):
            opening = shown[page]
            for place in range(PAGE_VALUES):
                value = _signed(opening[32 * place : 32 * place + 32])
                start = CHUNK_BYTES * page + 32 * place
                if value == _signed(tree.data[start : start + 32]):
                    continue
                below = Below.of(page, place, chunks)
                if not below.exists:
                    return NodeEvidence(kind, row, page, place, head + opening)
                if below.is_chunk:
                    behind = self._chunks(name, row, below.index)
                    return NodeEvidence(kind, row, page, place, head + opening + behind)
                if below.index not in shown:
                    return Demand(kind, below.index, row=row)
                if _total(shown[below.index]) != value:
                    behind = shown[below.index]
                    return NodeEvidence(kind, row, page, place, head + opening + behind)
        return Demand(kind, max(set(range(pages)) - shown.keys()), row=row)

    def _chunks(self, name: str, row: int, chunk: int) -> bytes:
        """What a number of the lowest level is computed from, as the court takes it."""
        owners = owners_of(name, row, len(self.entries))
        openings = b"".join(
            entry_leaf(self.entries, owner).opening
            + chunk_leaf(self.updates[owner].data, chunk).opening
            for owner in owners
        )
        if name == SCORES:
            openings += chunk_leaf(self.model.data, chunk).opening
            openings += chunk_leaf(self.base.data, chunk).opening
        return openings

    # ---------------------------------------------------------------- what is known

    @cached_property
    def _roots(self) -> Mapping[str, bytes]:
        """Roots by name, of the manifest or of what was shown on chain."""
        if set(self.named) == set(self.names):
            return self.named
        roots = {}
        for (what, row, page), opening in self.openings.items():
            name = what.name.lower()
            roots[name] = self._parts(what, row, page, opening)[0][32:64]
        return roots

    def _rows(self, name: str) -> list[bytes] | None:
        """All rows under a name's root, and as many as there must be; None if not to be had."""
        size, count, root = ROW_BYTES[name], len(self.expected.rows[name]), self._roots[name]
        data = self.find(root, count, size)
        if data is None:
            given = self._given_rows(name)
            if len(given) < count:
                return None
            data = b"".join(given[index] for index in range(count))
        rows = [data[start : start + size] for start in range(0, len(data), size)]
        return rows if entries_root(rows) == root else None

    def _given_rows(self, name: str) -> dict[int, bytes]:
        return {
            row: self._parts(what, row, page, opening)[1]
            for (what, row, page), opening in self.openings.items()
            if what is _kind(name)
        }

    def _first_unknown_row(self, name: str, count: int) -> int:
        """The last one first: of a tree of another size it cannot be shown."""
        return max(set(range(count)) - self._given_rows(name).keys())

    def _pages(self, name: str, row: int, root: bytes, pages: int) -> dict[int, bytes]:
        """Openings of a row's pages, as far as they are known."""
        data = self.find(root, pages, CHUNK_BYTES)
        if data is not None:
            return {page: chunk_leaf(data, page).opening for page in range(pages)}
        return {
            page: self._parts(what, at, page, opening)[2]
            for (what, at, page), opening in self.openings.items()
            if (what, at) == (_kind(name), row)
        }

    def _parts(self, what: What, row: int, page: int, opening: bytes) -> tuple[bytes, bytes, bytes]:
        """Take what was shown apart: the named leaf, the row, and the page with its path."""
        name = what.name.lower()
        named = 64 + 32 * path_length(self.names.index(name), len(self.names))
        length = ROW_BYTES[name] + 32 * path_length(row, len(self.expected.rows[name]))
        return opening[:64], opening[named : named + ROW_BYTES[name]], opening[named + length :]

    def _demand(self, name: str, row: int) -> Demand:
        """Ask for a row, and for the page of its tree that must add up to its total."""
        pages = page_count(-(-self.model.nbytes // CHUNK_BYTES))
        return Demand(_kind(name), 0 if name == RANKS else pages - 1, row=row)

    # ---------------------------------------------------------------- places

    def _named_opening(self, name: str) -> bytes:
        leaves, index = named_leaves(self._roots), self.names.index(name)
        return _row_opening(leaves, index)

    def _owner(self, name: str, row: int) -> str:
        owners = owners_of(name, row, len(self.entries))
        return " and ".join(Entry.unpack(self.entries[owner]).site for owner in owners)


def scaled_by(rule: Rule) -> str | None:
    """Of which name the rows are that a rule takes beside the updates; None of most rules."""
    return {RuleId.CLIPPED_MEAN: NORMS, RuleId.MULTI_KRUM: RANKS}.get(rule.id)


def with_rows(
    evidence: CoordinateEvidence, rule: Rule, roots: Mapping[str, bytes], rows: Sequence[bytes]
) -> CoordinateEvidence:
    """Complete the evidence of a rule that takes norms or ranks.

    Args:
        evidence: with the chunks of all updates.
        rule: the study's.
        roots: of all that the round commits to, by name.
        rows: those of the name that the rule takes; see `scaled_by`.
    """
    name, updates = scaled_by(rule), evidence.updates
    if name is None:
        return evidence
    if name == RANKS:
        chosen = set(krum_selected([int.from_bytes(row) for row in rows], rule.argument))
        updates = tuple(leaf if i in chosen else None for i, leaf in enumerate(updates))
    named = _row_opening(named_leaves(roots), sorted(roots).index(name))
    return replace(evidence, updates=updates, named=named, rows=b"".join(rows))


def owners_of(name: str, row: int, count: int) -> tuple[int, ...]:
    """The entries, of so many, that a row is about: of distances two, else one."""
    if name != DISTANCES:
        return (row,)
    first, others = 0, count - 1
    while row >= others:
        first, row, others = first + 1, row - others, others - 1
    return first, first + 1 + row


def tree_of(name: str, row: int, updates: Sequence[IntVector], change: IntVector) -> SumTree:
    """The sum tree that a row must commit to.

    Args:
        name: ``distances``, ``norms`` or ``scores``.
        row: its place.
        updates: of all entries, int32, shape (P,).
        change: the new model less the one before, shape (P,).
    """
    if name == DISTANCES:
        one, other = (updates[owner] for owner in owners_of(name, row, len(updates)))
        return SumTree.of_distances(one, other)
    return SumTree.of_products(updates[row], updates[row] if name == NORMS else change)


def answer_of(
    commitments: Commitments, demand: Demand, updates: Sequence[IntVector], change: IntVector
) -> bytes:
    """Open a named commitment, a row and a page of its sum tree, one behind the other.

    Args:
        commitments: the round's.
        demand: of a named commitment.
        updates: of all entries, int32, shape (P,).
        change: the new model less the one before, shape (P,).
    """
    name = demand.what.name.lower()
    leaves = named_leaves(commitments.roots)
    opening = _row_opening(leaves, sorted(commitments.roots).index(name))
    opening += _row_opening(commitments.rows[name], demand.row)
    if name == RANKS:
        return opening
    tree = tree_of(name, demand.row, updates, change)
    return opening + chunk_leaf(tree.data, demand.index).opening


def _kind(name: str) -> What:
    return What[name.upper()]


def _row_opening(rows: Sequence[bytes], index: int) -> bytes:
    path = inclusion_proof([leaf_hash(row) for row in rows], index)
    return rows[index] + b"".join(path)


def _signed(word: bytes) -> int:
    return int.from_bytes(word, "big", signed=True)


def _total(opening: bytes) -> int:
    """The sum of a page's numbers, as the court computes it."""
    words = (opening[start : start + 32] for start in range(0, CHUNK_BYTES, 32))
    total = sum(map(_signed, words)) % 2**256
    return total - 2**256 if total >= 2**255 else total
