"""Rows from a database, through SQLAlchemy, in a transaction that can only read."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field, model_validator

from wardround_client.sources.base import BATCH_ROWS, Batch, DataSource, Place, check_columns
from wardround_client.sources.errors import SourceError, SourceUnreachable, query_refused, too_large

if TYPE_CHECKING:
    from sqlalchemy import URL, ColumnElement, Connection, CursorResult, Engine

CONNECT_SECONDS = 10
_QUERY = re.compile(r"\s*(?:select|with|values|table)\b[^;]*;?\s*", re.IGNORECASE | re.DOTALL)
#: Drivers by what a URL may begin with. Only what is tested here; others are easily added to it.
_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
}
#: SQLAlchemy's loggers show statements, and at DEBUG whole rows; ours stay silent.
_LOGGING_NAME = "wardround"


class SqlSource(DataSource):
    """``type = "sql"``: a table of PostgreSQL or SQLite, or one SELECT."""

    type: Literal["sql"]
    #: Database URL, without a password.
    url: str | None = None
    #: Environment variable that holds the whole URL, password and all.
    url_variable: str | None = None
    #: Environment variable that holds the password alone.
    password_variable: str | None = None
    table: str | None = None
    #: The table's schema, such as ``public``.
    table_schema: str | None = None
    #: One SELECT whose columns are the declared ones. No semicolon, not even quoted.
    query: Annotated[str, Field(max_length=100_000)] | None = None
    #: How long PostgreSQL may work on it.
    timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300

    @model_validator(mode="after")
    def _complete(self) -> SqlSource:
        if (self.url is None) == (self.url_variable is None):
            raise ValueError("give exactly one of url and url_variable")
        if (self.table is None) == (self.query is None):
            raise ValueError("give exactly one of table and query")
        if self.query is not None and self.table_schema is not None:
            raise ValueError("table_schema goes with table")
        return self

    @property
    def title(self) -> str:
        """The table's name; where it is stays out of messages, with all that a URL may hold."""
        return "the query" if self.table is None else f"table {self.table}"

    @property
    def paths(self) -> list[str]:
        """The file of a SQLite database."""
        kind, _, path = (self.url or "").partition(":///")
        return [path.partition("?")[0]] if kind.startswith("sqlite") else []

    def read(
        self, columns: Sequence[str], ignore: Sequence[str], max_rows: int, place: Place
    ) -> Iterator[Batch]:
        """Read with a cursor, so that memory does not grow; see `DataSource.read`."""
        from sqlalchemy import exc

        if self.query is not None and not _QUERY.fullmatch(self.query):
            raise query_refused("it does not begin with SELECT or WITH, or holds a semicolon")
        engine = self._engine(place)
        # What went wrong is raised outside of the handler: a driver's errors quote rows and URLs.
        fault: SourceError
        connected = False
        try:
            with engine.connect() as connection:
                connected = True
                self._only_read(connection)
                self._check_named(connection, columns)
                with self._execute(connection, columns) as result:
                    check_columns(self.title, list(result.keys()), columns, ignore)
                    yield from self._batches(result, columns, max_rows)
            return
        except exc.SQLAlchemyError as error:
            reason = _name_of(error)
            # A server calls operational what concerns itself; SQLite, also a missing table.
            itself = isinstance(error, exc.OperationalError) and engine.dialect.name != "sqlite"
            asked = connected and isinstance(error, exc.DBAPIError) and not itself
            fault = query_refused(reason) if asked else SourceUnreachable(self.title, reason)
        finally:
            engine.dispose()
        raise fault

    def _batches(
        self, result: CursorResult[Any], columns: Sequence[str], max_rows: int
    ) -> Iterator[Batch]:
        keys = list(result.keys())
        places = {name: keys.index(name) for name in columns}
        seen = 0
        for rows in result.partitions(BATCH_ROWS):
            seen += len(rows)
            if seen > max_rows:
                raise too_large(self.title, "rows", max_rows, "max_rows")
            yield {name: [row[at] for row in rows] for name, at in places.items()}

    def _execute(self, connection: Connection, columns: Sequence[str]) -> CursorResult[Any]:
        import sqlalchemy
        from sqlalchemy.sql import quoted_name

        options = {"stream_results": True, "yield_per": BATCH_ROWS}
        if self.query is not None:
            # Verbatim: neither ":name" nor "%" is a parameter.
            plain = connection.execution_options(no_parameters=True, **options)
            return plain.exec_driver_sql(self.query.strip().rstrip(";"))
        assert self.table is not None  # the settings have exactly one
        named: list[ColumnElement[Any]] = [
            sqlalchemy.column(quoted_name(name, quote=True)) for name in columns
        ]
        table = sqlalchemy.table(quoted_name(self.table, quote=True), schema=self.table_schema)
        statement = sqlalchemy.select(*named).select_from(table)
        return connection.execution_options(**options).execute(statement)

    def _check_named(self, connection: Connection, columns: Sequence[str]) -> None:
        """Refuse a table without a declared column: SQLite would take its name for a text."""
        import sqlalchemy
        from sqlalchemy import exc

        if self.table is None:
            return
        try:
            described = sqlalchemy.inspect(connection).get_columns(self.table, self.table_schema)
        except exc.NoSuchTableError:
            return  # the database's own error is better
        found = [str(column["name"]) for column in described]
        wanted = list(columns)
        if connection.dialect.name == "sqlite":  # its names have no case
            found = [name.casefold() for name in found]
            wanted = [name for name in wanted if name.casefold() not in found]
        check_columns(self.title, found, wanted, found)

    def _only_read(self, connection: Connection) -> None:
        """Leave the administrator's query no way to write, should it try."""
        if connection.dialect.name == "postgresql":
            # Of the transaction, not of the session, which a pooler may hand to someone else.
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            limit = self.timeout_seconds * 1000
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {limit}")
        else:
            connection.exec_driver_sql("PRAGMA query_only = ON")

    def _engine(self, place: Place) -> Engine:
        import sqlalchemy
        from sqlalchemy.pool import NullPool

        url = self._url(place)
        wait = "timeout" if url.drivername == "sqlite+pysqlite" else "connect_timeout"
        for logger in ("sqlalchemy.engine.Engine", "sqlalchemy.pool.impl.NullPool"):
            logging.getLogger(f"{logger}.{_LOGGING_NAME}").setLevel(logging.CRITICAL)
        missing = False
        try:
            return sqlalchemy.create_engine(
                url,
                poolclass=NullPool,
                connect_args={wait: CONNECT_SECONDS},
                hide_parameters=True,
                logging_name=_LOGGING_NAME,
                pool_logging_name=_LOGGING_NAME,
            )
        except ModuleNotFoundError:
            missing = True
        assert missing
        raise SourceUnreachable(self.title, "its driver is missing: install wardround[postgresql]")

    def _url(self, place: Place) -> URL:
        import sqlalchemy
        from sqlalchemy import exc

        text = self.url
        if self.url_variable is not None:
            text = place.environment.get(self.url_variable)
            if not text:
                raise SourceUnreachable(self.title, f"variable {self.url_variable} is not set")
        assert text is not None  # the settings have exactly one
        url = None
        # Its message may hold the URL.
        with suppress(exc.ArgumentError, ValueError):
            url = sqlalchemy.make_url(text)
        if url is None or url.drivername not in _DRIVERS:
            raise SourceUnreachable(
                self.title, "its URL begins with neither postgresql:// nor sqlite:///"
            )
        in_file = self.url_variable is None
        if in_file and (url.password is not None or "password" in url.query):
            raise SourceUnreachable(
                self.title, "a password is in site.toml: put it in password_variable"
            )
        url = url.set(drivername=_DRIVERS[url.drivername])
        if self.password_variable is not None:
            password = place.environment.get(self.password_variable)
            if not password:
                raise SourceUnreachable(self.title, f"variable {self.password_variable} is not set")
            url = url.set(password=password)
        if url.drivername == "sqlite+pysqlite":
            if not url.database or url.database == ":memory:":
                raise SourceUnreachable(self.title, "its URL names no file")
            # Opened for reading only, and never made when it is not there.
            path = quote(str(place.folder / url.database))
            url = url.set(database=f"file:{path}", query={"mode": "ro", "uri": "true"})
        return url


def _name_of(error: Exception) -> str:
    """Name a database's error by kind and code, without its text."""
    original = getattr(error, "orig", None)
    code = getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None)
    kind = type(original if original is not None else error).__name__
    return kind if code is None else f"{kind}, {code}"
