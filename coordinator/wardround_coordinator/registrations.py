"""Contributions that sites put on chain themselves: a round must not be closed without them.

A site whose reply the coordinator does not get, or rejects, can register its signed contribution.
Leaving it out of the round is then a provable fraud, so an honest coordinator demands the update's
bytes on chain. A site that does not show them by the deadline is not included, and no challenge
can prove an omission.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eth_account.signers.local import LocalAccount

from wardround.chain.court import Court
from wardround.chain.court_events import ContributionAnswered
from wardround.chain.events import Registered
from wardround.protocol.errors import OutOfRange, StudyMismatch
from wardround.protocol.evidence import Leaf
from wardround.protocol.fixed_point import IntVector, add_exact
from wardround.protocol.identifiers import StudyId, hex_of
from wardround.protocol.inspection import chunk_leaf
from wardround.protocol.merkle import CHUNK_BYTES, vector_root
from wardround.protocol.record import Closing, RuleId, StudyParams
from wardround.protocol.rules import sum_exact
from wardround.protocol.settlement import Vector

#: Block times may be this far from this machine's clock; closing waits it out.
CLOCK_MARGIN_SECONDS = 30
_POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Registrations:
    """Gets registered updates through the contract.

    Attributes:
        clock: seconds since 1970.
        wait: sleeps for so many seconds.
    """

    court: Court
    coordinator: LocalAccount
    params: StudyParams
    clock: Callable[[], float]
    wait: Callable[[float], None]

    @property
    def study(self) -> StudyId:
        """The study's identifier."""
        return self.params.study_id

    def obtain(self, registered: Registered, previous: Closing, base: Vector) -> IntVector | None:
        """Demand a registered update chunk by chunk.

        The first chunk alone is demanded first: a site that shows nothing costs one transaction.

        Args:
            registered: what the site put on chain.
            previous: the closing of the round before.
            base: its model.
        Returns:
            The update, int32, of a sum int64, shape (P,); None when it was not shown in time, or
            when no round could hold it. Then the registration is void.
        """
        chunks = -(-len(base.data) // CHUNK_BYTES)
        if not self._demand(registered, range(1)) or not self._demand(registered, range(1, chunks)):
            return None
        shown = self._shown(registered)
        data = b"".join(shown[index] for index in range(chunks))
        if vector_root(data) != registered.update:
            # The contract has checked every chunk against this root.
            raise StudyMismatch(
                "registered update", hex_of(registered.update), hex_of(vector_root(data))
            )
        update = self.params.read_vector(data)
        try:
            if self.params.rule is RuleId.SUM:
                sum_exact([update], self.params.update_bound)
            else:
                add_exact(base.values, update)
        except OutOfRange as error:
            self._refuse(registered, previous, base, update, error.index)
            return None
        return update

    def _shown(self, registered: Registered) -> dict[int, bytes]:
        return {
            event.chunk: event.data
            for event in self.court.events(self.study)
            if isinstance(event, ContributionAnswered)
            and (event.round, event.site) == (registered.round, registered.site)
        }

    def _demand(self, registered: Registered, chunks: range) -> bool:
        """Demand some chunks and wait; return whether all of them were shown."""
        number, site = registered.round, registered.site
        shown = self._shown(registered)
        _, unanswered, refused = self.court.standing(self.study, number, site)
        if refused:
            return False
        for chunk in chunks:
            # A coordinator that was restarted has asked before.
            if chunk not in shown and not unanswered:
                self.court.demand_contribution(self.coordinator, self.study, number, site, chunk)
        while True:
            deadline, unanswered, refused = self.court.standing(self.study, number, site)
            if not unanswered or refused:
                return not refused
            if self.clock() > deadline + CLOCK_MARGIN_SECONDS:
                return False
            self.wait(_POLL_SECONDS)

    def _refuse(
        self,
        registered: Registered,
        previous: Closing,
        base: Vector,
        update: IntVector,
        coordinate: int,
    ) -> None:
        rule = self.params.rule
        chunk = rule.coordinate_bytes * coordinate // CHUNK_BYTES
        # A sum is added to nothing, so nothing of its base is shown.
        shown = Leaf(chunk, b"", ()) if rule is RuleId.SUM else chunk_leaf(base.data, chunk)
        self.court.refuse_contribution(
            self.coordinator,
            self.study,
            registered.round,
            previous,
            registered.entry,
            coordinate,
            chunk_leaf(update.data, chunk),
            shown,
        )
