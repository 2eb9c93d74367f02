"""Rows from a CSV file with a header line."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, TextIO

from pydantic import Field

from wardround.learning.errors import no_rows
from wardround_client.sources.base import (
    BATCH_ROWS,
    Batch,
    FileSource,
    Place,
    check_columns,
)
from wardround_client.sources.errors import (
    Problem,
    SourceError,
    SourceUnreachable,
    damaged,
    schema_mismatch,
    too_large,
)

LINE_MAX_CHARACTERS = 1 << 20
_FIGURES = re.compile(r"\s*[0-9.,eE+-]+\s*")
#: A point would part thousands here, which is ambiguous: as a comma it makes the cell no number.
_SWAPPED = str.maketrans(",.", ".,")


class CsvSource(FileSource):
    """``type = "csv"``: text with one row a line, as any program exports it."""

    type: Literal["csv"]
    delimiter: Annotated[str, Field(pattern=r"^[,;\t|]$")] = ","
    #: Of numbers; a comma goes with another delimiter.
    decimal: Literal[".", ","] = "."
    encoding: Literal["utf-8", "latin-1", "cp1252"] = "utf-8"

    def read(
        self, columns: Sequence[str], ignore: Sequence[str], max_rows: int, place: Place
    ) -> Iterator[Batch]:
        """Read line by line; see `DataSource.read`."""
        path = self.file(place)
        # A byte order mark is no part of the first column's name.
        encoding = "utf-8-sig" if self.encoding == "utf-8" else self.encoding
        # What went wrong is raised outside of the handler: Python's own errors quote the file.
        fault: SourceError
        try:
            with path.open(encoding=encoding, newline="") as file:
                yield from self._batches(file, columns, ignore, max_rows)
            return
        except UnicodeDecodeError:
            fault = damaged(self.title, f"it is not {self.encoding} text")
        except csv.Error:
            fault = damaged(self.title, "it is not CSV: a quote or a line does not end")
        except OSError as exc:
            fault = SourceUnreachable(self.title, exc.strerror or type(exc).__name__)
        raise fault

    def _batches(
        self, file: TextIO, columns: Sequence[str], ignore: Sequence[str], max_rows: int
    ) -> Iterator[Batch]:
        reader = csv.reader(self._lines(file), delimiter=self.delimiter, strict=True)
        header = next(reader, None)
        if header is None:
            raise no_rows(self.title)
        names = [name.strip() for name in header]
        check_columns(self.title, names, columns, ignore)
        places = {name: names.index(name) for name in columns}
        rows: list[list[str]] = []
        seen = ragged = 0
        for row in reader:
            if not row:
                continue  # an empty line
            seen += 1
            if seen > max_rows:
                raise too_large(self.title, "rows", max_rows, "max_rows")
            if len(row) != len(names):
                ragged += 1
                continue
            rows.append(row)
            if len(rows) == BATCH_ROWS:
                yield self._columns(rows, places)
                rows = []
        if ragged:
            what = f"another number of cells than the header's {len(names)}"
            raise schema_mismatch(self.title, [Problem(None, what, ragged)])
        if rows:
            yield self._columns(rows, places)

    def _columns(self, rows: list[list[str]], places: dict[str, int]) -> Batch:
        columns = {name: [row[at] for row in rows] for name, at in places.items()}
        if self.decimal == ",":
            columns = {name: list(map(_with_point, cells)) for name, cells in columns.items()}
        return columns

    def _lines(self, file: TextIO) -> Iterator[str]:
        """Give lines, none without end, and no more in all than the file had when it was sized."""
        read = 0
        while line := file.readline(LINE_MAX_CHARACTERS):
            read += len(line)
            if len(line) == LINE_MAX_CHARACTERS:
                reason = f"a line is longer than {LINE_MAX_CHARACTERS} characters"
                raise damaged(self.title, reason)
            if read > self.max_bytes:
                raise self.too_large("bytes")
            yield line


def _with_point(cell: str) -> str:
    return cell.translate(_SWAPPED) if _FIGURES.fullmatch(cell) else cell
