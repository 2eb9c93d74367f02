"""What was shown on chain in answer to demands about one closing, or about a lock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from wardround.audit.shown_vector import put_together
from wardround.chain.court_events import Demanded
from wardround.chain.court_reader import CourtReader, demand_id_of
from wardround.protocol.contribution import ENTRY_BYTES
from wardround.protocol.evidence import Leaf, What
from wardround.protocol.merkle import CHUNK_BYTES
from wardround.protocol.record import Closing, StudyParams
from wardround.protocol.whole_inspection import Openings
from wardround.store import Store


@dataclass(frozen=True)
class ShownLeaves:
    """Answers by what they are of.

    Attributes:
        trees: leaves by kind and, of an update, its entry's place; then by index.
        openings: of named commitments, whole, by kind, row and page.
    """

    trees: Mapping[tuple[What, int], Mapping[int, Leaf]] = field(default_factory=dict)
    openings: Openings = field(default_factory=dict)

    @classmethod
    def of(
        cls, params: StudyParams, made: Iterable[Demanded], answers: Mapping[bytes, bytes]
    ) -> ShownLeaves:
        """Sort answers.

        Args:
            params: the study's.
            made: demands about one closing.
            answers: openings by demand.
        """
        trees: dict[tuple[What, int], dict[int, Leaf]] = {}
        openings: dict[tuple[What, int, int], bytes] = {}
        for event in made:
            opening = answers.get(event.demand)
            if opening is None:
                continue
            if event.what.is_named:
                openings[event.what, event.entry_index, event.index] = opening
                continue
            length = min(CHUNK_BYTES, params.vector_size - CHUNK_BYTES * event.index)
            if event.what is What.ENTRY:
                length = ENTRY_BYTES
            leaf = Leaf.opened(event.index, opening, length)
            trees.setdefault((event.what, event.entry_index), {})[event.index] = leaf
        return cls(trees, openings)


def demands_about(
    params: StudyParams, number: int, closing: Closing, made: Iterable[Demanded]
) -> Iterator[Demanded]:
    """Those demands that are about a round as it is closed, or locked, now."""
    for one in made:
        where = (params.study_id, number, closing.commitment, one.what, one.index)
        if one.round == number and one.demand == demand_id_of(*where, one.entry_index):
            yield one


def keep_shown(
    court: CourtReader, params: StudyParams, number: int, closing: Closing, store: Store
) -> None:
    """Store what the chain has of a lock: its entries and updates, each where it is whole."""
    head, ward = court.chain.block().number, court.ward
    entries = ward.locked_entries(params.study_id, number)
    if entries is not None:
        store.put(entries)
    made = list(demands_about(params, number, closing, court.demands(params.study_id, 0, head)))
    if not made:
        return
    answers = {one.demand: one.opening for one in court.answers(0, head)}
    for (what, _), leaves in ShownLeaves.of(params, made, answers).trees.items():
        if what is What.ENTRY and len(leaves) == closing.record.count:
            store.put(b"".join(leaf.data for _, leaf in sorted(leaves.items())))
        if what is What.UPDATE:
            update = put_together(params, leaves)
            if update is not None:
                store.put(update.data)
