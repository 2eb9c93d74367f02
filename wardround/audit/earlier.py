"""Rounds that an audit does not recompute, because others have: by their result, or on chain."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.audit.claims import rounds_in_words
from wardround.audit.errors import ResultNotTrusted
from wardround.audit.result import SignedResult, check_closings, read_result
from wardround.chain.study_state import ClosedOnChain
from wardround.chain.ward_round import WardRound
from wardround.protocol.errors import SpecificationError
from wardround.protocol.facts import StudyFacts
from wardround.protocol.identifiers import StudyId, address_of, hex_of

#: In place of a file: the rounds for which a quorum of the study's auditors has signed on chain.
ATTESTED = "attested"


@dataclass(frozen=True)
class Earlier:
    """Rounds from 1 on, and who has audited them.

    Attributes:
        last: the last of them.
        words: who, for people.
        by: ``result`` or ``attestation``.
        path: of the result's file.
        signed: the result.
    """

    last: int
    words: str
    by: str
    path: Path | None = None
    signed: SignedResult | None = None

    @property
    def values(self) -> dict[str, Any]:
        """The same for programs."""
        found: dict[str, Any] = {"first": 1, "last": self.last, "by": self.by}
        if self.signed is not None:
            result = self.signed.result
            found |= {"auditor": self.signed.auditor, "result": hex_of(result.digest)}
        return found

    def check(self, facts: StudyFacts, closed: list[ClosedOnChain]) -> None:
        """Check that the rounds are those of the chain.

        Raises:
            StudyMismatch: the result is about another study, or a round was overturned since.
        """
        if self.path is not None and self.signed is not None:
            check_closings(self.path, self.signed.result, facts, closed)


def earlier_rounds(
    source: str, trusted: Collection[str], ward: WardRound, study: StudyId
) -> Earlier:
    """Find the rounds that are taken on the word of others.

    Args:
        source: a result's file, or `ATTESTED`.
        trusted: addresses that are relied on beside the study's own auditors, lower case.
        ward: the contract.
        study: the study.
    Raises:
        SpecificationError: no round is attested, or there is no such file.
        ResultNotTrusted: the result's auditor is not relied on.
        ProtocolError: the file is no signed result.
    """
    if source == ATTESTED:
        state = ward.study(study)
        last, quorum = state.final_through, state.auditor_quorum
        if not last:
            reason = "no round is attested on chain: audit the whole study"
            raise SpecificationError(f"--from {ATTESTED}", reason)
        words = f"taken as {quorum} of the study's auditors attested on chain"
        return Earlier(last, f"{rounds_in_words(range(1, last + 1))}: {words}", "attestation")
    path = Path(source)
    signed = read_result(path)
    auditor = signed.auditor
    if auditor not in trusted and not ward.is_auditor(study, address_of(auditor)):
        raise ResultNotTrusted(path, auditor)
    last = len(signed.result.closings)
    words = f"{rounds_in_words(range(1, last + 1))}: taken from the result signed by {auditor}"
    return Earlier(last, words, "result", path, signed)
