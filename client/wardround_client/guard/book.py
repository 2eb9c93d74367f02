"""What the guard remembers, read from its log: what was signed and measured, and what it cost.

A round is known by study, number and base model. A round that the chain opens again, after one
before it was overturned, has another base model and is another round here too; one that opens
again on the same model is the same, and only the same contribution is signed for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.learning.privacy.accountant import Mechanism
from wardround.protocol.identifiers import Root, StudyId, hex_of
from wardround_client.errors import LogError
from wardround_client.guard.log import Line, read_log


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
    """Privacy that was spent on one attempt to train, or on one model that was measured.

    Attributes:
        key: study, round and model.
        attempt: at this round, from 1; 0 of a measurement.
        rows: SHA-256 of the rows, in hexadecimal.
        group: the column that named people; None where none did, and everybody may be concerned.
        people: whose rows they were: a set of `guard.people`; None where no column is declared.
        mechanism: what was done to a person with one row.
    """

    key: tuple[str, int, str]
    attempt: int
    rows: str
    group: str | None
    people: str | None
    mechanism: Mechanism


class Book:
    """What was signed and spent so far."""

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self._signed: dict[tuple[str, int, str], Line] = {}
        self._released: dict[tuple[str, str], Line] = {}
        self._spent: list[Spent] = []
        self._failed: list[Line] = []
        for line in lines:
            self.take(line)

    def take(self, line: Line) -> None:
        """Remember a line of the log."""
        if line["kind"] == "signed":
            self._signed[_key(line)] = line
        elif line["kind"] == "released":
            self._released[line["study"], line["model"]] = line
        elif line["kind"] == "failed":
            self._failed.append(line)
        elif line["kind"] == "spent":
            self._spent.append(
                Spent(
                    key=_key(line),
                    # Lines of earlier versions name a table, and no person in it.
                    attempt=line.get("attempt", 1),
                    rows=line["rows"],
                    group=line.get("group"),
                    people=line.get("people"),
                    mechanism=Mechanism.model_validate(line["mechanism"]),
                )
            )

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

    def failures(self, study: StudyId, number: int, of: str, *, since: int) -> int:
        """How often the trainer failed to train or to measure in a round, whatever the model.

        Args:
            of: ``train`` or ``measure``.
            since: seconds since 1970.
        """
        wanted = (hex_of(study), number, of)
        return sum(
            (line["study"], line["round"], line["of"]) == wanted and line["at"] >= since
            for line in self._failed
        )

    @property
    def studies(self) -> list[str]:
        """Every study in which something was spent or a model measured, in hexadecimal."""
        return sorted({one.key[0] for one in self._spent} | {one for one, _ in self._released})

    @property
    def spent(self) -> Sequence[Spent]:
        """All that was spent, over all studies, in its order."""
        return self._spent

    def attempts(self, study: StudyId, number: int) -> list[Spent]:
        """What was spent on training in a round, whatever model it started from."""
        wanted = (hex_of(study), number)
        return [one for one in self._spent if one.key[:2] == wanted and one.attempt]


def read_book(path: Path) -> Book:
    """Read a guard's log while the guard may be writing to it.

    Raises:
        LogError: it is missing, damaged or kept from this user.
    """
    try:
        return Book(read_log(path))
    except (KeyError, TypeError, ValueError) as error:
        reason = f"has a line that no guard writes ({type(error).__name__})"
        raise LogError(path, f"{reason}: restore a true copy") from None


def _key(fields: Line) -> tuple[str, int, str]:
    return fields["study"], fields["round"], fields["base"]
