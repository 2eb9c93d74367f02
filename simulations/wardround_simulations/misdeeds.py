"""Something that a party tries in a study, and what it comes to.

Each is tried on chain, in one of the two studies of `cheated_studies` and when it is worth trying.
Most is refused, by an error of the contract; some is let in, and another party sets it right.
`early_misdeeds` and `later_misdeeds` list them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from wardround.chain.blocks import Receipt
from wardround.chain.errors import ContractReverted
from wardround_simulations.cheated_studies import CheatedStudy, LaterStudy
from wardround_simulations.outcomes import Outcome, Role
from wardround_simulations.refusals import gas_of_refusal

_ANY = TypeVar("_ANY", bound=CheatedStudy)


@dataclass(frozen=True)
class Remedy:
    """What set right what the contract had let in: the entry point, and its transaction."""

    name: str
    receipt: Receipt | None


@dataclass(frozen=True)
class Misdeed(Generic[_ANY]):
    """Something that a party tries.

    Attributes:
        caught_by: the contract's error, or the name of the remedy.
        act: tries it, and gives the `Remedy` where one was needed.
    """

    role: Role
    title: str
    caught_by: str
    act: Callable[[_ANY], object]


@dataclass(frozen=True)
class Moment(Generic[_ANY]):
    """How a study goes on, and what is tried behind it."""

    go: Callable[[_ANY], None]
    misdeeds: tuple[Misdeed[_ANY], ...] = ()


def rehearse(study: _ANY, moments: Sequence[Moment[_ANY]]) -> Iterator[Outcome]:
    """Go through a study's steps, try what belongs behind each, and settle in the end."""
    tried = []
    for moment in moments:
        moment.go(study)
        tried += [_outcome(study, misdeed) for misdeed in moment.misdeeds]
    study.settle()
    right = study.is_right()
    yield from (replace(one, ends_right=right) for one in tried)


def _outcome(study: _ANY, misdeed: Misdeed[_ANY]) -> Outcome:
    caught_by, gas, lost, words = "", 0, 0, "all holds"
    before = _deposits(study, misdeed.role)
    try:
        remedy = misdeed.act(study)
    except ContractReverted as error:
        caught_by, words = error.name, str(error)
        gas = gas_of_refusal(study.chain, *study.sent[-1], error.name)
    else:
        if isinstance(remedy, Remedy) and remedy.receipt is not None:
            caught_by, gas = remedy.name, remedy.receipt.gas_used
            lost = before - _deposits(study, misdeed.role)
    return Outcome(
        role=misdeed.role,
        tried=misdeed.title,
        recording=study.params.recording.name.lower(),
        caught_by=caught_by,
        expected=misdeed.caught_by,
        gas=gas,
        slashed=0,
        forfeited=lost,
        closed_by="first" if isinstance(study, LaterStudy) else "",
        ends_right=False,
        words=words,
    )


def _deposits(study: CheatedStudy, role: Role) -> int:
    """What a party has that pays deposits: a challenger, or who registers for a site."""
    parties = study.parties
    accounts = {Role.CHALLENGER: parties.standby, Role.SITE: parties.auditor}
    return study.worth(accounts[role]) if role in accounts else 0
