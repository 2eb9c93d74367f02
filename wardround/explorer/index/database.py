"""The index file: SQLite with a write-ahead log, one writer at a time, any number of readers.

A process that dies while it writes leaves the last whole transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from wardround.explorer.errors import IndexUnusable

FORMAT = "wardround-index/3"
#: An event's or transaction's key is its block times this, plus its place in the block.
PLACES = 1 << 20

_BUSY_SECONDS = 30.0
#: A server has one reading connection for each of its worker threads.
_WRITER_CACHE_KIB, _READER_CACHE_KIB = 16_000, 4_000


@dataclass(frozen=True, slots=True)
class IndexTip:
    """The last indexed block."""

    number: int
    hash: str


def open_writer(path: Path, identity: Mapping[str, str]) -> sqlite3.Connection:
    """Open an index to write; create it if it is missing.

    Args:
        path: the file.
        identity: chain and contracts; stored in a new index, compared with an existing one.

    Raises:
        IndexUnusable: it has another format, chain or contract, or is not an index.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _opened(path, "rwc", _WRITER_CACHE_KIB) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        with transaction(connection):
            if not _has_tables(connection):
                _create(connection, identity)
        _check(connection, path, identity)
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open an index read-only.

    Raises:
        IndexUnusable: it is missing, or not an index.
    """
    if not path.is_file():
        raise IndexUnusable(str(path), "there is no such file")
    with _opened(path, "ro", _READER_CACHE_KIB) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA query_only = ON")
        _check(connection, path, {})
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run a block as one exclusive write transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def tip_of(connection: sqlite3.Connection) -> IndexTip | None:
    """The last indexed block; None in a new index."""
    row = connection.execute(
        "SELECT number, hash FROM block ORDER BY number DESC LIMIT 1"
    ).fetchone()
    return None if row is None else IndexTip(*row)


def set_meta(connection: sqlite3.Connection, values: Mapping[str, str]) -> None:
    """Store properties of the index."""
    connection.executemany(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        list(values.items()),
    )


def meta_of(connection: sqlite3.Connection) -> dict[str, str]:
    """Properties of the index."""
    return dict(connection.execute("SELECT key, value FROM meta").fetchall())


@contextmanager
def _opened(path: Path, mode: str, cache_kib: int) -> Iterator[sqlite3.Connection]:
    """A new connection, closed again if it cannot be prepared."""
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode={mode}",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.DatabaseError as error:
        raise IndexUnusable(str(path), str(error)) from error
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        # With a write-ahead log this survives a killed process; a power cut may take back the last
        # transactions, which the chain then gives again.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA cache_size = -{cache_kib}")
        yield connection
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise IndexUnusable(str(path), str(error)) from error
        raise


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None


def _create(connection: sqlite3.Connection, identity: Mapping[str, str]) -> None:
    script = resources.files("wardround.explorer").joinpath("schema.sql").read_text("utf-8")
    # Not `executescript`, which would commit what came before it.
    for statement in script.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    set_meta(connection, {"format": FORMAT, **identity})


def _check(connection: sqlite3.Connection, path: Path, identity: Mapping[str, str]) -> None:
    if not _has_tables(connection):
        raise IndexUnusable(str(path), "it is empty")
    found = meta_of(connection)
    for key, value in {"format": FORMAT, **identity}.items():
        if found.get(key) != value:
            raise IndexUnusable(str(path), f"its {key} is {found.get(key)}, not {value}")
