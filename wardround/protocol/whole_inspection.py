"""Look through what a round commits to by name for what is wrong, and cut the evidence out.

All of it follows from entries, updates and models, so it is computed again and compared: names,
then rows, then sum trees. What is committed to and not to be had is demanded, page by page.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
from wardround.protocol.evidence import CoordinateEvidence, Demand, Evidence, Hidden, What
from wardround.protocol.fixed_point import IntVector
from wardround.protocol.inspection import chunk_leaf, coordinate_evidence, entry_leaf
from wardround.protocol.merkle import CHUNK_BYTES, inclusion_proof, leaf_hash
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
#: What is wrong, in words, with its proof, or with what has to be demanded for one.
Found = tuple[str, Evidence | Hidden]


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

    def withheld(self, names: Collection[str] | None = None) -> Iterator[Found]:
        """Rows that are not to be had, of some names or of all; reads neither updates nor models.

        A demand asks for a row and for the page of its tree that must add up to its total.
        """
        for name in self.names if names is None else names:
            count = self.row_count(name)
            rows = self._rows[name]
            if len(rows) < count:
                # The last one first: of a tree of another size it cannot be shown.
                places = range(count - 1, -1, -1)
                page = 0 if name == RANKS else self._pages_of_a_tree - 1
                demand = Demand(_kind(name), page, row=count - 1)
                words = f"the {name} that the round commits to are not to be had"
                yield words, Hidden(demand, places, rows.keys(), by_row=True)

    def wrong(self) -> Iterator[Found]:
        """Prove the first number that is wrong and shown; name the rows that are not shown."""
        if self.expected.root == self.committed:
            return
        roots = self.expected.roots
        suspects = [name for name in self.names if self._roots.get(name) != roots[name]]
        yield from self.withheld(suspects)
        for name in suspects[:1]:
            # Numbers of a later name are proven with those of an earlier one, which must be right.
            rows, wanted = self._rows[name], self.expected.rows[name]
            for index in sorted(rows):
                found = None if rows[index] == wanted[index] else self._wrong_row(name, index)
                if found is not None:
                    yield found
                    return

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

    def _wrong_row(self, name: str, index: int) -> Found | None:
        """Prove a row wrong, or name the pages it takes; None while the row before is hidden."""
        row, right = self._rows[name][index], self.expected.rows[name][index]
        head = self._named_opening(name) + self._row_opening(name, index)
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
            # Of what is not right before it, the sum up to here may well follow.
            if self._rows[name].get(index - 1) != self.expected.rows[name][index - 1]:
                return None
            head += self._row_opening(name, index - 1)
        head += entry_leaf(self.entries, index).opening
        if NORMS in self.names:
            head += self._named_opening(NORMS) + self.expected.data(NORMS)
        return words, ScoreEvidence(index, head)

    def _wrong_tree(
        self, name: str, row: int, data: bytes, tree: SumTree, head: bytes
    ) -> NodeEvidence | Hidden:
        """Find a number that is not the sum of what is below it, or the pages that it takes."""
        chunks, kind = -(-self.model.nbytes // CHUNK_BYTES), _kind(name)
        pages = self._pages_of_a_tree
        shown = self._pages(name, row, data[32:64])
        last = pages - 1

        def asked(page: int) -> Hidden:
            return Hidden(Demand(kind, page, row=row), range(page, page + 1))

        if last not in shown:
            return asked(last)
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
                    return asked(below.index)
                if _total(shown[below.index]) != value:
                    behind = shown[below.index]
                    return NodeEvidence(kind, row, page, place, head + opening + behind)
        # All that is shown is right, so any page may be the other one.
        return Hidden(Demand(kind, last, row=row), range(pages), shown.keys())

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
        for (what, row, _), opening in self.openings.items():
            name = what.name.lower()
            roots[name] = self._parts(what, row, opening)[0][32:64]
        return roots

    def row_count(self, name: str) -> int:
        """How many rows a name must have."""
        entries = len(self.entries)
        return entries * (entries - 1) // 2 if name == DISTANCES else entries

    @cached_property
    def _rows(self) -> Mapping[str, Mapping[int, bytes]]:
        """Rows under each name's root by place, all or as far as they were shown on chain."""
        return {name: self._known_rows(name) for name in self.names}

    def _known_rows(self, name: str) -> Mapping[int, bytes]:
        size, count = ROW_BYTES[name], self.row_count(name)
        if name not in self._roots:
            return {}
        data = self.find(self._roots[name], count, size)
        if data is not None:
            return {index: data[size * index : size * (index + 1)] for index in range(count)}
        shown = self._shown_rows(name)
        return {row: opening[:size] for row, opening in shown.items()}

    def _shown_rows(self, name: str) -> dict[int, bytes]:
        """Openings of rows that were shown on chain."""
        return {
            row: self._parts(what, row, opening)[1]
            for (what, row, _), opening in self.openings.items()
            if what is _kind(name)
        }

    def _pages(self, name: str, row: int, root: bytes) -> dict[int, bytes]:
        """Openings of a row's pages, as far as they are known."""
        pages = self._pages_of_a_tree
        data = self.find(root, pages, CHUNK_BYTES)
        if data is not None:
            return {page: chunk_leaf(data, page).opening for page in range(pages)}
        return {
            page: self._parts(what, at, opening)[2]
            for (what, at, page), opening in self.openings.items()
            if (what, at) == (_kind(name), row)
        }

    @property
    def _pages_of_a_tree(self) -> int:
        return page_count(-(-self.model.nbytes // CHUNK_BYTES))

    def _parts(self, what: What, row: int, opening: bytes) -> tuple[bytes, bytes, bytes]:
        """Take what was shown apart: the named leaf, the row and the page, each with its path."""
        name = what.name.lower()
        named = 64 + 32 * path_length(self.names.index(name), len(self.names))
        end = named + ROW_BYTES[name] + 32 * path_length(row, self.row_count(name))
        return opening[:named], opening[named:end], opening[end:]

    # ---------------------------------------------------------------- places

    def _named_opening(self, name: str) -> bytes:
        if set(self._roots) == set(self.names):
            return _row_opening(named_leaves(self._roots), self.names.index(name))
        return next(
            self._parts(what, row, opening)[0]
            for (what, row, _), opening in self.openings.items()
            if what is _kind(name)
        )

    def _row_opening(self, name: str, index: int) -> bytes:
        rows = self._rows[name]
        if len(rows) == self.row_count(name):
            return _row_opening([rows[at] for at in range(len(rows))], index)
        return self._shown_rows(name)[index]

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
