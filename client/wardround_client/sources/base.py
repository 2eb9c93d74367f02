"""What a source of rows is: it finds a site's table and reads the columns that are declared."""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from wardround.protocol.documents import Form
from wardround_client.sources.errors import (
    Problem,
    SourceError,
    SourceUnreachable,
    schema_mismatch,
    too_large,
)

#: Columns by name, of some rows; all equally long.
Batch = Mapping[str, Sequence[object]]
#: Rows that are held as Python values at a time.
BATCH_ROWS = 4096
#: Default limit on the bytes of a file, as it lies and unpacked.
FILE_MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Place:
    """Where a site's settings are at home.

    Attributes:
        folder: of ``site.toml``; relative paths start there.
        environment: where passwords are, so that they are in no file of the site.
    """

    folder: Path
    environment: Mapping[str, str]


class DataSource(Form, ABC):
    """One kind of place that rows come from; its fields are the keys of ``[data.source]``.

    To add a kind, write a subclass in a file of its own with a ``type`` of its own, and name it
    in `wardround_client.sources.settings`.
    """

    @abstractmethod
    def read(
        self, columns: Sequence[str], ignore: Sequence[str], max_rows: int, place: Place
    ) -> Iterator[Batch]:
        """Read the declared columns, some rows at a time, in any order.

        Args:
            columns: those to give, and no others.
            ignore: those that may be there too.
            max_rows: how many rows at most.
            place: where the site is at home.
        Raises:
            SourceError: columns other than declared, unreachable, damaged, or too large.
        """

    @property
    @abstractmethod
    def title(self) -> str:
        """What the table is called in messages; without a password."""

    @property
    def paths(self) -> list[str]:
        """Files of this machine that have the rows, as far as the settings name them."""
        return []

    @property
    def decimal_mark(self) -> str:
        """What parts a number's whole from its fraction where a cell is text."""
        return "."


class FileSource(DataSource):
    """A file in the site's folder, or at an absolute path."""

    path: str
    #: Of the file, and of all its columns unpacked.
    max_bytes: Annotated[int, Field(ge=1)] = FILE_MAX_BYTES

    @property
    def title(self) -> str:
        """The file's path as written."""
        return self.path

    @property
    def paths(self) -> list[str]:
        """The file."""
        return [self.path]

    def file(self, place: Place) -> Path:
        """Find the file; refuse what is no plain file, or a larger one, before a byte is read.

        Raises:
            SourceUnreachable: no such file, or none that can be read.
            SourceError: more bytes.
        """
        path, reason = place.folder / self.path, None
        try:
            if not path.is_file():
                reason = "there is no such file"
            elif path.stat().st_size > self.max_bytes:
                raise self.too_large("bytes")
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
        if reason is not None:
            raise SourceUnreachable(str(path), reason)
        return path

    def too_large(self, what: str) -> SourceError:
        """The error of a file with too many bytes."""
        return too_large(self.title, what, self.max_bytes, "max_bytes")


def check_columns(
    table: str, found: Sequence[str], columns: Sequence[str], ignore: Sequence[str]
) -> None:
    """Refuse a table whose columns are not the declared ones.

    Raises:
        SourceError: a column is missing, there twice, or not declared.
    """
    problems = [Problem(name, _absence(name, found)) for name in columns if name not in found]
    problems += [Problem(name, "it is there twice") for name in columns if found.count(name) > 1]
    known = {*columns, *ignore}
    extra = [str(at) for at, name in enumerate(found, 1) if name not in known]
    if extra:
        shown = ", ".join(extra[:10]) + (" ..." if len(extra) > 10 else "")
        what = f"{len(extra)} columns are neither declared nor ignored, by their place: {shown}"
        problems.append(Problem(None, what))
    if problems:
        raise schema_mismatch(table, problems)


def _absence(name: str, found: Sequence[str]) -> str:
    """Write that a column is missing, and where one is that has nearly its name."""
    for place, other in enumerate(found, 1):
        if _letters(other) == _letters(name):
            return (
                f"it is missing, but column {place} differs only in capitals, spaces or signs: "
                "write its name as the table does"
            )
    return "it is missing"


def _letters(name: str) -> str:
    """Leave out of a name what people write now so, now so."""
    return re.sub(r"[\s_.\-]", "", unicodedata.normalize("NFKC", name).casefold())
