"""Rows from a CSV file with a header line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
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
    written_otherwise,
)
from wardround_client.sources.hints import (
    HEAD_BYTES,
    hint_of_encoding,
    hint_of_header,
    hint_of_start,
)

LINE_MAX_CHARACTERS = 1 << 20


class CsvSource(FileSource):
    """``type = "csv"``: text with one row a line, as any program exports it."""

    type: Literal["csv"]
    delimiter: Annotated[str, Field(pattern=r"^[,;\t|]$")] = ","
    #: Of numbers; a comma goes with another delimiter.
    decimal: Literal[".", ","] = "."
    encoding: Literal["utf-8", "latin-1", "cp1252"] = "utf-8"

    @property
    def decimal_mark(self) -> str:
        """As declared."""
        return self.decimal

    def read(
        self, columns: Sequence[str], ignore: Sequence[str], max_rows: int, place: Place
    ) -> Iterator[Batch]:
        """Read line by line; see `DataSource.read`."""
        path = self.file(place)
        # A byte order mark is no part of the first column's name.
        encoding = "utf-8-sig" if self.encoding == "utf-8" else self.encoding
        # What went wrong is raised outside of the handler: Python's own errors quote the file.
        fault: SourceError | None = None
        try:
            head = _head(path)
            hint = hint_of_start(head, self.encoding)
            if hint is None and self.encoding != "utf-8":
                # Read so, any bytes are text.
                hint = hint_of_encoding(_chunks(path), self.encoding)
            if hint is not None:
                raise written_otherwise(self.title, hint)
            with path.open(encoding=encoding, newline="") as file:
                yield from self._batches(file, head, columns, ignore, max_rows)
            return
        except UnicodeDecodeError:
            pass
        except csv.Error:
            fault = damaged(self.title, "it is not CSV: a quote or a line does not end")
        except OSError as exc:
            fault = SourceUnreachable(self.title, exc.strerror or type(exc).__name__)
        raise fault or self._undecodable(path)

    def _undecodable(self, path: Path) -> SourceError:
        hint = None
        with suppress(OSError):
            hint = hint_of_encoding(_chunks(path), self.encoding)
        if hint is not None:
            return written_otherwise(self.title, hint)
        return damaged(self.title, f"it is not {self.encoding} text")

    def _batches(
        self,
        file: TextIO,
        head: bytes,
        columns: Sequence[str],
        ignore: Sequence[str],
        max_rows: int,
    ) -> Iterator[Batch]:
        reader = csv.reader(self._lines(file), delimiter=self.delimiter, strict=True)
        names = self._names(reader, head, columns, ignore)
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

    def _names(
        self,
        reader: Iterator[list[str]],
        head: bytes,
        columns: Sequence[str],
        ignore: Sequence[str],
    ) -> list[str]:
        """Read the header; where it has not the declared columns, name the setting to change."""
        fault: SourceError
        names: list[str] = []
        try:
            header = next((row for row in reader if row), None)
            if header is None:
                raise no_rows(self.title)
            names = [name.strip() for name in header]
            check_columns(self.title, names, columns, ignore)
            return names
        except csv.Error:
            fault = damaged(self.title, "it is not CSV: a quote or a line does not end")
        except SourceError as error:
            fault = error
        if hint := hint_of_header(head, self.encoding, self.delimiter, columns):
            raise written_otherwise(self.title, hint, fault.problems)
        if names and not set(names) & set(columns):
            problem = Problem(None, "it has no declared column, so its first line may be no header")
            raise schema_mismatch(self.title, [*fault.problems, problem])
        raise fault

    @staticmethod
    def _columns(rows: list[list[str]], places: dict[str, int]) -> Batch:
        return {name: [row[at] for row in rows] for name, at in places.items()}

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


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(HEAD_BYTES):
            yield chunk
