"""Contributions that sites put on chain themselves: a round must not be closed without them.

A site whose reply the coordinator does not get, or rejects, can register its signed contribution.
Leaving it out of the round is then a provable fraud, so an honest coordinator demands the update's
bytes on chain. A site that does not show them by the deadline is not included, and no challenge
can prove an omission.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from eth_account.signers.local import LocalAccount

from wardround.chain.court import Court
from wardround.chain.court_reader import RegistrationState
from wardround.chain.events import Registered
from wardround.protocol.errors import OutOfRange, StudyMismatch
from wardround.protocol.fixed_point import IntVector, check_fits
from wardround.protocol.identifiers import SiteAddress, StudyId, hex_of
from wardround.protocol.inspection import base_leaf, chunk_leaf
from wardround.protocol.manifest import Dropped
from wardround.protocol.merkle import CHUNK_BYTES, vector_root
from wardround.protocol.record import Closing, RuleId, StudyParams
from wardround.protocol.settlement import Vector

_log = logging.getLogger("wardround.serverapp")

#: Block times may be this far from this machine's clock; closing waits it out.
CLOCK_MARGIN_SECONDS = 30
POLL_SECONDS = 2.0
#: Chunks demanded for each that was shown; and in one transaction, of about 4,200 gas a chunk.
DEMANDED_PER_SHOWN = 50
BATCH_CHUNKS = 3_000


def most_demanded(shown: int) -> int:
    """How many chunks may be demanded at once of an update of which so many were shown."""
    return min(1 + DEMANDED_PER_SHOWN * shown, BATCH_CHUNKS)


@dataclass(frozen=True)
class Registrations:
    """Gets registered updates through the contract.

    Attributes:
        clock: seconds since 1970.
    """

    court: Court
    coordinator: LocalAccount
    params: StudyParams
    clock: Callable[[], float]

    @property
    def study(self) -> StudyId:
        """The study's identifier."""
        return self.params.study_id

    def obtain(
        self, registered: Registered, previous: Closing, base: Vector
    ) -> IntVector | Dropped | None:
        """Get on with a registered update, without waiting: demand what was not shown.

        Never more than fifty times what was shown before: a site that hides its bytes costs little.

        Args:
            registered: what the site put on chain.
            previous: the closing of the round before.
            base: its model.
        Returns:
            The update, int32, of a sum int64, shape (P,); why the round need not hold it; or None
            while neither is settled.
        """
        where = _where(registered)
        state = self.court.standing(self.study, *where)
        if (void := self._excused(registered, state)) is not None:
            return void
        if state.unanswered:
            return None
        chunks = -(-len(base.data) // CHUNK_BYTES)
        if state.shown < chunks:
            # All chunks together take no more than one deposit.
            self.court.approve_deposit(self.coordinator, self.study)
            end = min(chunks, state.shown + most_demanded(state.shown))
            first = state.demanded
            self.court.demand_contribution(self.coordinator, self.study, *where, (first, end))
            deposit = self.params.deposit
            _log.warning(
                f"round {registered.round}: {registered.site} registered its contribution on "
                f"chain: demanded chunks {first} to {end - 1} of {chunks}, for "
                f"{deposit // chunks * (end - first)} of the deposit's {deposit} units"
            )
            return None
        update = self._read(registered, self.court.shown_of(self.study, *where))
        try:
            of_a_sum = self.params.rule is RuleId.SUM
            check_fits(update, self.params.update_bound, None if of_a_sum else base.values)
        except OutOfRange as error:
            self._refuse(registered, previous, base, update, error.index)
            words = f"the registered update is out of bounds at {error.index}"
            return _void(registered, "refused", words)
        return update

    def excused(self, registered: Registered) -> Dropped | None:
        """Why the round need not hold a registered update; None where it must, or still may."""
        state = self.court.standing(self.study, *_where(registered))
        return self._excused(registered, state)

    def _excused(self, registered: Registered, state: RegistrationState) -> Dropped | None:
        if state.refused:
            return _void(registered, "refused", "the registered update is out of bounds")
        if not state.unanswered or self.clock() <= state.deadline + CLOCK_MARGIN_SECONDS:
            return None
        self.court.close_contribution(self.coordinator, self.study, *_where(registered))
        seen = f"{state.unanswered} of {state.demanded} chunks demanded until {state.deadline}"
        return _void(registered, "not_shown", f"{seen} were not shown")

    def _read(self, registered: Registered, data: bytes) -> IntVector:
        if vector_root(data) != registered.update:
            # The contract has checked every chunk against this root.
            raise StudyMismatch(
                "registered update", hex_of(registered.update), hex_of(vector_root(data))
            )
        return self.params.read_vector(data)

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
        self.court.refuse_contribution(
            self.coordinator,
            self.study,
            registered.round,
            previous,
            registered.entry,
            coordinate,
            chunk_leaf(update.data, chunk),
            base_leaf(rule, base.values, chunk),
        )


def _where(registered: Registered) -> tuple[int, bytes, SiteAddress]:
    return registered.round, registered.previous, registered.site


def _void(registered: Registered, reason: str, evidence: str) -> Dropped:
    return Dropped(site=registered.site.lower(), reason=reason, evidence=evidence)
