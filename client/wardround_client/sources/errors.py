"""Every error of a site's own tables. None holds a value of a row: only columns and counts.

WardroundError
└── SourceError
    ├── SchemaMismatch         columns or cells other than declared
    ├── TooFewRows             too few rows to train and to measure
    ├── SourceTooLarge         more bytes or rows than the limit
    ├── SourceDamaged          not a file of its kind
    ├── SourceUnreachable      no such file, server or password (retryable)
    ├── QueryRefused           not a query that reads, or one that the database refuses
    └── ScalingNotPrivate      rows scaled by one another, where a study asks for privacy
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wardround.protocol.errors import Retryable, WardroundError


class SourceError(WardroundError):
    """A site's own table cannot be used."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a column.

    Attributes:
        column: as declared; None for what is wrong with the table as a whole.
        what: in words.
        rows: how many it concerns; None where rows are not what is counted.
    """

    column: str | None
    what: str
    rows: int | None = None

    def __str__(self) -> str:
        """Say it in words."""
        column = "" if self.column is None else f"column {self.column!r}: "
        return column + (self.what if self.rows is None else f"{self.what} in {self.rows} rows")


class SchemaMismatch(SourceError):
    """Columns or cells are not those that the site's schema declares.

    Columns that the schema does not name appear by their place only: in a file without a header
    their names would be a patient's data.
    """

    def __init__(self, table: str, problems: Sequence[Problem]) -> None:
        self.table = table
        self.problems = tuple(problems)
        self.column = self.problems[0].column
        self.rows = self.problems[0].rows
        super().__init__(
            f"{table} does not fit its schema: {'; '.join(map(str, self.problems))}. "
            "Correct the table, or what [data] in site.toml declares."
        )


class TooFewRows(SourceError):
    """There are too few rows to train on, or to measure on."""

    def __init__(self, what: str, rows: int, needed: int) -> None:
        self.what = what
        self.rows = rows
        self.needed = needed
        super().__init__(
            f"{what}: {rows} rows where {needed} are needed: give the site more rows, or lower "
            "min_rows."
        )


class SourceTooLarge(SourceError):
    """A table exceeds a limit; nothing is cut off in silence."""

    def __init__(self, table: str, what: str, limit: int, setting: str) -> None:
        self.table = table
        self.what = what
        self.limit = limit
        self.setting = setting
        super().__init__(
            f"{table} has more than {limit} {what}: give a part of it, or raise {setting}."
        )


class SourceDamaged(SourceError):
    """A file is not of the kind that the site says it is."""

    def __init__(self, table: str, reason: str) -> None:
        self.table = table
        self.reason = reason
        super().__init__(f"{table} cannot be read ({reason}): export it again.")


class SourceUnreachable(SourceError, Retryable):
    """A file or database does not answer."""

    def __init__(self, table: str, reason: str) -> None:
        self.table = table
        self.reason = reason
        super().__init__(f"{table} cannot be reached ({reason}): see that it is there, try again.")


class QueryRefused(SourceError):
    """A query is not one that only reads, or the database refuses it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"what [data.source] asks the database for is refused ({reason}): name a table or "
            "write one SELECT, and try it in the database's own client."
        )


class ScalingNotPrivate(SourceError):
    """Rows are scaled by one another, so that clipping does not bound what one row changes."""

    def __init__(self) -> None:
        super().__init__(
            'the study asks for privacy of single rows, but scaling = "rows" lets each row change '
            'all others: write scaling = "range" in [data], and a range for each numeric feature.'
        )
