"""Who was trained on: sets of people, written once each, to which lines of the log refer.

A set's file is named by its SHA-256. Most rounds of a study train on the same people, so a line of
the log stays short. A set is on disk before any line names it. Without it no one could tell any
more whose budget was spent, so a missing one is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wardround.host.durable import OWNER_ONLY, write_durably
from wardround.learning.datasets.people import DIGEST_BYTES
from wardround.protocol.canonical import sha256_digest
from wardround_client.errors import LogError
from wardround_client.guard.log import unwritable

#: One person: 32 bytes, as NumPy compares them.
Persons = npt.NDArray[np.bytes_]
Counts = npt.NDArray[np.int64]
#: In a file: whose rows, and how many.
_ENTRY = np.dtype([("person", f"S{DIGEST_BYTES}"), ("rows", ">u4")])


@dataclass(frozen=True, eq=False)
class People:
    """People, each with a number of rows.

    Attributes:
        persons: bytes, shape (n,), ascending, each once.
        rows: int64, shape (n,), each >= 1.
    """

    persons: Persons
    rows: Counts

    def rows_of(self, persons: Persons) -> Counts:
        """How many rows each of these people has here; 0 for who is not among them."""
        if not len(self.persons):
            return np.zeros(len(persons), np.int64)
        at = np.minimum(np.searchsorted(self.persons, persons), len(self.persons) - 1)
        return np.where(self.persons[at] == persons, self.rows[at], 0)

    @cached_property
    def most_rows(self) -> int:
        """The most rows that one person has."""
        return int(self.rows.max(initial=0))

    def encode(self) -> bytes:
        """Write the file's form: 36 bytes a person, in ascending order."""
        entries = np.empty(len(self.persons), _ENTRY)
        entries["person"], entries["rows"] = self.persons, self.rows
        return entries.tobytes()


def people_of(rows: Persons) -> People:
    """Count the rows of each person."""
    persons, counts = np.unique(rows, return_counts=True)
    return People(persons, counts.astype(np.int64))


def merged(sets: Sequence[People]) -> People:
    """Everybody of at least one set, each with as many rows as at most in one of them."""
    persons = np.unique(np.concatenate([one.persons for one in sets]))
    return People(persons, np.max([one.rows_of(persons) for one in sets], axis=0))


def persons_of(digests: Sequence[bytes]) -> Persons:
    """Put one digest a row into an array."""
    return np.array(digests, dtype=f"S{DIGEST_BYTES}")


class PeopleStore:
    """The sets of people in a folder of the home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, People] = {}

    def keep(self, people: People) -> str:
        """Write a set, unless it is there; when this returns, it survives a crash.

        Returns:
            Its SHA-256, in hexadecimal.
        Raises:
            LogError: it cannot be written.
        """
        data = people.encode()
        name = sha256_digest(data).hex()
        path = self.folder / name
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            # A file of this name was written whole.
            if not path.exists():
                write_durably(path, data, mode=OWNER_ONLY)
        except OSError as error:
            raise unwritable(path, error) from error
        self._known[name] = people
        return name

    def read(self, name: str) -> People:
        """Read a set.

        Raises:
            LogError: it is missing, or not what was written.
        """
        if name not in self._known:
            path = self.folder / name
            try:
                data = path.read_bytes()
            except OSError as error:
                raise _lost(path, error.strerror or "it cannot be read") from None
            if sha256_digest(data).hex() != name:
                raise _lost(path, "it was altered")
            entries = np.frombuffer(data, _ENTRY)
            self._known[name] = People(entries["person"], entries["rows"].astype(np.int64))
        return self._known[name]


def _lost(path: Path, reason: str) -> LogError:
    # Everyone in it would have a budget of which nothing is spent.
    return LogError(path, f"names people whose budget was spent ({reason}): restore a true copy")
