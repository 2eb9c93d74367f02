"""What the rounds of a study rest on: the contract's code, the training code and the first model.

None of them follows from a round. An audit compares each, or names it as taken as recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

from wardround.audit.audit import StudyAudit, StudyRecords
from wardround.chain.ward_round import WardRound
from wardround.host.code import application_digest
from wardround.protocol.identifiers import hex_of


@dataclass(frozen=True)
class Premise:
    """One thing that the rounds rest on.

    Attributes:
        name: ``contract code``, ``training code`` or ``first model``.
        is_compared: whether this audit has found it right; otherwise it is taken as recorded.
        words: what it was compared with, or how to compare it.
    """

    name: str
    is_compared: bool
    words: str

    def sentence(self) -> str:
        """For people, in one line."""
        how = self.words if self.is_compared else f"taken as recorded; {self.words}"
        return f"{self.name}: {how}"


def premises_of(work: StudyAudit, contract: StudyRecords, built: str | None) -> list[Premise]:
    """Compare what can be compared here.

    Args:
        work: the audit.
        contract: where it reads; a `WardRound` is opened for known code alone.
        built: how the first model was found equal (`rebuild_first_model`); None where it was not
            asked for.
    """
    return [
        _contract_code(work, contract),
        _training_code(work),
        Premise("first model", built is not None, built or "--run-study-code builds it again"),
    ]


def _contract_code(work: StudyAudit, contract: StudyRecords) -> Premise:
    name = "contract code"
    if isinstance(contract, WardRound):
        return Premise(name, True, "known, of the contract, its court, both annexes and the escrow")
    address = work.facts.domain.contract
    return Premise(name, False, f"wardround contract verify {address} --rpc URL compares it")


def _training_code(work: StudyAudit) -> Premise:
    name, recorded, installed = "training code", work.facts.params.code, application_digest()
    if recorded == installed:
        return Premise(name, True, "its digest is that of the code installed here")
    here = f"wardround {version('wardround')}, installed here, has {hex_of(installed)}"
    return Premise(name, False, f"its digest is {hex_of(recorded)}, and {here}")
