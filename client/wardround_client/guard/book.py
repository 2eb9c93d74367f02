"""What the guard remembers, read from its log: what was signed and measured, and what it cost.

A round is known by study, number and base model. A round that the chain opens again, after one
before it was overturned, has another base model and is another round here too; one that opens
again on the same model is the same, and only the same contribution is signed for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from wardround.learning.privacy.accountant import Mechanism, PrivacyAccount
from wardround.protocol.identifiers import Root, StudyId, hex_of
from wardround_client.guard.log import Line


@dataclass(frozen=True)
class RoundKey:
    """A round of a study, on the model that it starts from."""

    study: StudyId
    round: int
    base: Root

    def fields(self) -> dict[str, Any]:
        """As it is written in the log."""
        return {"study": hex_of(self.study), "round": self.round, "base": hex_of(self.base)}


@dataclass(frozen=True)
class Spent:
    """Privacy that was spent: the round, the table and its rows, and what was done to them."""

    key: tuple[str, int, str]
    table: str
    rows: str
    mechanism: Mechanism


class Book:
    """What was signed and spent so far."""

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self._signed: dict[tuple[str, int, str], Line] = {}
        self._released: dict[tuple[str, str], Line] = {}
        self._spent: list[Spent] = []
        for line in lines:
            self.take(line)

    def take(self, line: Line) -> None:
        """Remember a line of the log."""
        if line["kind"] == "signed":
            self._signed[_key(line)] = line
        elif line["kind"] == "released":
            self._released[line["study"], line["model"]] = line
        elif line["kind"] == "spent":
            mechanism = Mechanism.model_validate(line["mechanism"])
            self._spent.append(Spent(_key(line), line["table"], line["rows"], mechanism))

    def signed(self, key: RoundKey) -> Line | None:
        """What was signed for a round; None when nothing was."""
        return self._signed.get(_key(key.fields()))

    def took_part(self, study: StudyId, number: int) -> bool:
        """Whether anything was signed for a round, whatever model it started from."""
        return any(key[:2] == (hex_of(study), number) for key in self._signed)

    def released(self, study: StudyId, model: Root) -> Line | None:
        """What was measured of a model; None when it was not."""
        return self._released.get((hex_of(study), hex_of(model)))

    def measured_models(self, study: StudyId) -> int:
        """How many models of a study were measured."""
        return sum(one == hex_of(study) for one, _ in self._released)

    def spent(self, key: RoundKey, table: str, rows: str) -> Spent | None:
        """What was spent on a round over these very rows; None when nothing was."""
        wanted = (_key(key.fields()), table, rows)
        return next((one for one in self._spent if (one.key, one.table, one.rows) == wanted), None)

    def account_of_study(self, study: StudyId, before: Spent | None = None) -> PrivacyAccount:
        """All that was spent in a study; up to some expense, if one is named."""
        taken = []
        for one in self._spent:
            if one is before:
                break
            if one.key[0] == hex_of(study):
                taken.append(one)
        return _account(taken)

    def account_of_table(self, table: str) -> PrivacyAccount:
        """All that was spent on a table, over all studies."""
        return _account([one for one in self._spent if one.table == table])


def _key(fields: Line) -> tuple[str, int, str]:
    return fields["study"], fields["round"], fields["base"]


def _account(spent: list[Spent]) -> PrivacyAccount:
    each = (PrivacyAccount(mechanisms=[one.mechanism]) for one in spent)
    return PrivacyAccount().compose(*each)
