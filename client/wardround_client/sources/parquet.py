"""Rows from a Parquet file. Its columns are read, and nothing else that a writer left in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

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


class ParquetSource(FileSource):
    """``type = "parquet"``: a columnar file, as pandas, Spark or DuckDB write it."""

    type: Literal["parquet"]

    def read(
        self, columns: Sequence[str], ignore: Sequence[str], max_rows: int, place: Place
    ) -> Iterator[Batch]:
        """Read row group by row group; see `DataSource.read`."""
        import pyarrow
        from pyarrow import parquet

        path = self.file(place)
        # What went wrong is raised outside of the handler: Arrow's errors may quote the file.
        fault: SourceError
        try:
            with path.open("rb") as handle:
                file = parquet.ParquetFile(
                    handle,
                    pre_buffer=False,
                    thrift_string_size_limit=16 * 1024 * 1024,
                    thrift_container_size_limit=1_000_000,
                    # Types that a writer defined itself are read as what they are stored as.
                    arrow_extensions_enabled=False,
                )
                check_columns(self.title, file.schema_arrow.names, columns, ignore)
                self._check_types(pyarrow.types, file.schema_arrow, columns)
                self._check_size(file.metadata, max_rows)
                # One thread: a site has other work, and rows come in the file's order.
                for batch in file.iter_batches(
                    BATCH_ROWS, columns=list(columns), use_threads=False, use_pandas_metadata=False
                ):
                    if batch.nbytes > self.max_bytes:
                        raise self.too_large("bytes")
                    yield {name: _cells(pyarrow.types, batch.column(name)) for name in columns}
            return
        except (pyarrow.ArrowException, UnicodeDecodeError):
            fault = damaged(self.title, "it is not a Parquet file, or a damaged one")
        except OSError as exc:
            # Arrow raises its own errors of reading as OSError too, without a number.
            fault = (
                damaged(self.title, "it is not a Parquet file, or a damaged one")
                if exc.errno is None
                else SourceUnreachable(self.title, exc.strerror or type(exc).__name__)
            )
        raise fault

    def _check_types(self, types: Any, schema: Any, columns: Sequence[str]) -> None:
        problems = [
            Problem(name, "a type that is neither number, text nor yes or no")
            for name in columns
            if not _is_plain(types, schema.field(name).type)
        ]
        if problems:
            raise schema_mismatch(self.title, problems)

    def _check_size(self, metadata: Any, max_rows: int) -> None:
        """Refuse before anything is unpacked."""
        if metadata.num_rows > max_rows:
            raise too_large(self.title, "rows", max_rows, "max_rows")
        # Not column by column: on a damaged file pyarrow 26 ends the process there.
        groups = range(metadata.num_row_groups)
        unpacked = sum(max(0, metadata.row_group(at).total_byte_size) for at in groups)
        if unpacked > self.max_bytes:
            raise self.too_large("bytes unpacked")


def _is_plain(types: Any, kind: Any) -> bool:
    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = (
        types.is_integer,
        types.is_floating,
        types.is_decimal,
        types.is_boolean,
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_date,
        types.is_null,
    )
    return any(test(kind) for test in tests)


def _cells(types: Any, column: Any) -> list[object]:
    dictionary = getattr(column, "dictionary", None)
    if dictionary is not None:
        # A long text that many rows share stays one object.
        values = _cells(types, dictionary)
        return [None if at is None else values[at] for at in column.indices.to_pylist()]
    if types.is_float32(column.type) or types.is_float16(column.type):
        # 0.1, as a text file would have it, and not 0.10000000149011612.
        return [float(str(cell)) for cell in column.to_numpy(zero_copy_only=False)]
    return list(column.to_pylist())
