"""What is wrong with a site's own table. No message holds a value of a row.

WardroundError
└── SourceError               it does not fit what site.toml declares, is damaged or too large
    └── SourceUnreachable     no such file, server or password (retryable)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wardround.protocol.errors import Retryable, WardroundError


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
        """Write it as a clause of a sentence."""
        column = "" if self.column is None else f"column {self.column!r}: "
        return column + (self.what if self.rows is None else f"{self.what} in {self.rows} rows")


class SourceError(WardroundError):
    """A site's own table cannot be used as it is.

    Attributes:
        problems: what is wrong with each column; empty where the table is refused as a whole.
    """

    code = "source-unusable"

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message)


class SourceUnreachable(SourceError, Retryable):
    """A site's file or database does not answer."""

    code = "source-unreachable"

    def __init__(self, table: str, reason: str) -> None:
        super().__init__(
            f"{table} cannot be reached ({reason}): correct [data.source] in site.toml, or try "
            "again when it is there."
        )


def schema_mismatch(table: str, problems: Sequence[Problem]) -> SourceError:
    """Columns or cells are not those that the site's schema declares.

    Columns that the schema does not name appear by their place only: in a file without a header
    their names would be a patient's data.
    """
    return SourceError(
        f"{table} does not fit its schema: {'; '.join(map(str, problems))}. "
        "Correct the table, or what [data] in site.toml declares.",
        problems,
    )


def too_few(table: str, what: str, count: int, needed: int) -> SourceError:
    """A table has too few usable rows, or rows of too few patients."""
    return SourceError(
        f"{table}: {count} {what} where {needed} are needed: give the site more {what}, or lower "
        "min_rows."
    )


def too_large(table: str, what: str, limit: int, setting: str) -> SourceError:
    """A table exceeds a limit: it is refused, never cut off."""
    return SourceError(
        f"{table} has more than {limit} {what}: give a part of it, or raise {setting}."
    )


def damaged(table: str, reason: str) -> SourceError:
    """A file is not of the kind that the site declares."""
    return SourceError(f"{table} cannot be read ({reason}): export it again.")


def written_otherwise(table: str, hint: str, problems: Sequence[Problem] = ()) -> SourceError:
    """A file is written in another way than [data.source] declares; the hint names the setting."""
    return SourceError(
        f"{table} is not written as [data.source] in site.toml declares: {hint}.", problems
    )


def not_divided(table: str, sides: str, why: str, remedy: str) -> SourceError:
    """All rows of a table, or nearly all, are on one side of its division."""
    return SourceError(
        f"{table} cannot be divided into training and test rows: {sides}, where 2 and 1 are "
        f"needed. {why}: {remedy}."
    )


def query_refused(reason: str) -> SourceError:
    """A query does not only read, or the database rejects it."""
    return SourceError(
        f"what [data.source] asks the database for is refused ({reason}): name a table or "
        "write one SELECT, and try it in the database's own client."
    )
