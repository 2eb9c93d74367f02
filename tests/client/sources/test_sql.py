"""SQLite in a file, and a real PostgreSQL server."""

from __future__ import annotations

import logging
import sqlite3
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.client.sources.conftest import PASSWORD, Cluster
from tests.client.sources.tables import (
    COLUMNS,
    CREATE,
    SECRET,
    everything_said,
    patients,
    place,
    settings,
    write_sqlite,
)
from wardround.learning.errors import DataError
from wardround.protocol.errors import Retryable
from wardround_client.sources.errors import SourceError
from wardround_client.sources.prepare import load_site_data
from wardround_client.sources.rows import read_rows

SELECT = "select age, pressure, pain, smoker, outcome from patients"
VARIABLE = "HOSPITAL_DATABASE"


def values(source: dict[str, Any], folder: Path, *, environment: Any = None, **changes: Any) -> Any:
    return read_rows(settings(source, **changes), place(folder, **(environment or {}))).values


def refusal(words: str, source: dict[str, Any], folder: Path, **changes: Any) -> Any:
    with pytest.raises(SourceError, match=words or None) as caught:
        values(source, folder, **changes)
    said = everything_said(caught.value)
    for secret in (SECRET, SECRET.split()[0], PASSWORD, PASSWORD.split()[-1], "sesame"):
        assert secret not in said
    assert isinstance(caught.value, Retryable) == ("cannot be reached" in str(caught.value))
    return caught.value


# ---------------------------------------------------------------- SQLite


def test_sqlite_when_a_table_is_named_reads_its_columns(tmp_path: Path) -> None:
    rows = patients(30)
    found = values(write_sqlite(tmp_path, rows), tmp_path)
    assert found[:, 0].tolist() == [row["age"] for row in rows]


@pytest.mark.parametrize(
    "query",
    [
        SELECT,
        f"  {SELECT};  ",
        f"with p as ({SELECT}) select * from p",
        SELECT + " where patient like 'P%' and pain != ':x %(y)s %s ?'",
        SELECT.replace("select", "SELECT DISTINCT"),
    ],
)
def test_sqlite_when_a_query_is_given_runs_it_as_it_stands(tmp_path: Path, query: str) -> None:
    source = write_sqlite(tmp_path, patients(30))
    del source["table"]
    assert len(values(source | {"query": query}, tmp_path)) == 30


@pytest.mark.parametrize(
    "query",
    [
        "delete from patients", "drop table patients", "update patients set age = 1",
        "pragma writable_schema = 1", "attach 'other.db' as other", "vacuum into 'copy.db'",
        f"{SELECT}; drop table patients", f"{SELECT};;", "", " ", "--\nselect 1",
        "insert into patients select * from patients returning *",
        "with x as (select 1) delete from patients returning age, pressure, pain, smoker, outcome",
        "with x as (select 1) insert into patients select * from patients returning *",
    ],
)  # fmt: skip
def test_sqlite_when_a_query_would_write_refuses_it(tmp_path: Path, query: str) -> None:
    source = write_sqlite(tmp_path, patients(30))
    before = (tmp_path / "patients.db").read_bytes()
    del source["table"]
    refusal("is refused", source | {"query": query}, tmp_path)
    assert (tmp_path / "patients.db").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["patients.db"]


@pytest.mark.parametrize(
    "query",
    [
        "select nothing from patients",
        "select age from nowhere",
        f"select {SECRET} from patients",
        "select load_extension('x')",
        "select",
    ],
)
def test_sqlite_when_it_refuses_a_query_says_so(tmp_path: Path, query: str) -> None:
    source = write_sqlite(tmp_path, patients(30))
    del source["table"]
    reason = str(refusal("is refused", source | {"query": query}, tmp_path))
    assert "SQLITE_ERROR" in reason or "SQLITE_SCHEMA" in reason


def test_sqlite_when_columns_differ_says_which(tmp_path: Path) -> None:
    source = write_sqlite(tmp_path, patients(30))
    del source["table"]
    query = SELECT.replace("age", f'age as "{SECRET}"')
    error = refusal("does not fit its schema", source | {"query": query}, tmp_path)
    assert error.problems[0].column == "age"
    assert "by their place: 1" in str(error)
    twice = SELECT.replace("age,", "age, age,")
    assert "twice" in str(refusal("does not fit its schema", source | {"query": twice}, tmp_path))


def test_sqlite_when_cells_are_wrong_counts_them(tmp_path: Path) -> None:
    rows = patients(30)
    rows[3]["age"] = rows[4]["age"] = SECRET
    rows[5]["pressure"] = None
    error = refusal("does not fit its schema", write_sqlite(tmp_path, rows), tmp_path)
    assert [str(one) for one in error.problems] == [
        "column 'age': not a number in 2 rows",
        "column 'pressure': missing values in 1 rows",
    ]


def test_sqlite_when_text_is_no_text_is_refused(tmp_path: Path) -> None:
    """SQLite's own error quotes the cell."""
    source = write_sqlite(tmp_path, patients(30))
    connection = sqlite3.connect(tmp_path / "patients.db")
    with connection:
        connection.execute(
            "update patients set pain = cast(? as text)", [b"\xff" + SECRET.encode()]
        )
    connection.close()
    refusal("", source, tmp_path)


def test_sqlite_when_there_is_no_file_makes_none(tmp_path: Path) -> None:
    source = {"type": "sql", "url": "sqlite:///patients.db", "table": "patients"}
    assert "SQLITE_CANTOPEN" in str(refusal("cannot be reached", source, tmp_path))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "patients.db").write_bytes(b"no database" * 100)
    refusal("", source, tmp_path)


def test_sqlite_when_empty_or_too_long_is_refused(tmp_path: Path) -> None:
    source = write_sqlite(tmp_path, [])
    with pytest.raises(DataError):
        values(source, tmp_path)
    (tmp_path / "patients.db").unlink()
    write_sqlite(tmp_path, patients(5000))
    refusal("has more than 4999 rows", source, tmp_path, max_rows=4999)
    assert len(values(source, tmp_path, max_rows=5000)) == 5000


def test_names_when_they_are_strange_are_quoted(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "patients.db")
    with connection:
        connection.execute(
            CREATE.replace("patients", '"select; drop"').replace("age", '"A ""g""e"')
        )
        marks = ", ".join("?" * len(COLUMNS))
        cells = [tuple(row.values()) for row in patients(30)]
        connection.executemany(f'insert into "select; drop" values ({marks})', cells)
    connection.close()
    features = settings({"type": "csv", "path": ""}).model_dump()["features"]
    features[0]["name"] = 'A "g"e'
    source = {"type": "sql", "url": "sqlite:///patients.db", "table": "select; drop"}
    assert len(values(source, tmp_path, features=features)) == 30


# ---------------------------------------------------------------- addresses and passwords


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"url": "mysql://h/d"}, "begins with neither"),
        ({"url": "sesame"}, "begins with neither"),
        ({"url": "postgresql://h:sesame/d"}, "begins with neither"),
        ({"url": "sqlite://"}, "names no file"),
        ({"url": "sqlite:///:memory:"}, "names no file"),
        ({"url": "postgresql://u:sesame@h/d"}, "a password is in site.toml"),
        ({"url": "postgresql://h/d?password=sesame"}, "a password is in site.toml"),
        ({"url_variable": VARIABLE}, f"variable {VARIABLE} is not set"),
        ({"url": "postgresql://u@h/d", "password_variable": "P"}, "variable P is not set"),
    ],
)
def test_address_when_it_cannot_be_used_is_unreachable(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    source = {"type": "sql", "table": "patients", **change}
    assert reason in str(refusal("cannot be reached", source, tmp_path))


def test_server_when_nobody_listens_is_unreachable(tmp_path: Path) -> None:
    source = {"type": "sql", "table": "t", "url_variable": VARIABLE}
    address = f"postgresql://user:sesame@127.0.0.1:1/{SECRET}"
    error = refusal("cannot be reached", source, tmp_path, environment={VARIABLE: address})
    assert "OperationalError" in str(error)


def test_driver_when_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    source = {"type": "sql", "table": "t", "url": "postgresql://h/d"}
    assert "wardround[postgresql]" in str(refusal("cannot be reached", source, tmp_path))


# ---------------------------------------------------------------- PostgreSQL

WRITES = [
    "with gone as (delete from patients returning *) select age, pressure, pain, smoker, outcome"
    " from gone",
    "with x as (insert into patients select * from patients returning *) " + SELECT,
    SELECT + " where setval('counter', 5) > 0",
    SELECT + " where set_config('transaction_read_only', 'off', true) is not null",
    SELECT + " for update",
    "select 1 into other",
]


@pytest.fixture
def database(postgresql: Cluster) -> Cluster:
    rows = [tuple(row.values()) for row in patients(60)]
    marks = ", ".join(["%s"] * len(COLUMNS))
    postgresql.run(
        "drop schema public cascade; create schema public; create schema clinic",
        "create sequence counter",
        CREATE,
        (f"insert into patients values ({marks})", rows),
        CREATE.replace("patients", 'clinic."Patients 2"'),
        (f'insert into clinic."Patients 2" values ({marks})', rows[:25]),
    )
    return postgresql


@pytest.fixture(autouse=True)
def _tidy(request: pytest.FixtureRequest) -> Any:
    yield
    if "database" in request.fixturenames:
        request.getfixturevalue("postgresql").run("drop schema if exists clinic cascade")


def source_of(database: Cluster, **keys: Any) -> tuple[dict[str, Any], dict[str, str]]:
    source = {"type": "sql", "url_variable": VARIABLE, **(keys or {"table": "patients"})}
    return source, {VARIABLE: database.url()}


def test_postgresql_when_a_table_is_named_reads_its_columns(
    tmp_path: Path, database: Cluster
) -> None:
    source, environment = source_of(database)
    found = values(source, tmp_path, environment=environment)
    assert found[:, 0].tolist() == [row["age"] for row in patients(60)]
    source, _ = source_of(database, table="Patients 2", table_schema="clinic")
    assert len(values(source, tmp_path, environment=environment)) == 25


def test_postgresql_when_the_password_is_apart_finds_it(tmp_path: Path, database: Cluster) -> None:
    source = {"type": "sql", "table": "patients", "url": database.url(password=None)}
    source["password_variable"] = "SESAME"
    environment = {"SESAME": PASSWORD}
    assert len(values(source, tmp_path, environment=environment)) == 60
    wrong = {"SESAME": PASSWORD + "!"}
    error = refusal("cannot be reached", source, tmp_path, environment=wrong)
    assert "OperationalError" in str(error)


@pytest.mark.parametrize(
    "query",
    [
        SELECT + " where pain <> ':x %(y)s %s' and age::int > 0",
        f"{SELECT} order by patient;",
        f"with p as ({SELECT}) select * from p",
        "select age::numeric as age, pressure::real as pressure, pain::varchar as pain, "
        "smoker::int as smoker, outcome::bigint as outcome from patients",
    ],
)
def test_postgresql_when_a_query_is_given_runs_it_as_it_stands(
    tmp_path: Path, database: Cluster, query: str
) -> None:
    source, environment = source_of(database, query=query)
    assert len(values(source, tmp_path, environment=environment)) == 60


@pytest.mark.parametrize("query", WRITES)
def test_postgresql_when_a_query_would_write_refuses_it(
    tmp_path: Path, database: Cluster, query: str
) -> None:
    source, environment = source_of(database, query=query)
    refusal("", source, tmp_path, environment=environment)
    kept, _ = source_of(database)
    assert len(values(kept, tmp_path, environment=environment)) == 60


def test_postgresql_when_a_write_slips_through_is_undone(tmp_path: Path, database: Cluster) -> None:
    """Before version 16 large objects could be made in a transaction that only reads."""
    source, environment = source_of(database, query=SELECT + ", lo_creat(1)")
    with suppress(SourceError):
        values(source, tmp_path, environment=environment)
    count = SELECT.replace("age,", "(select count(*) from pg_largeobject_metadata) as age,")
    source, _ = source_of(database, query=count)
    assert set(values(source, tmp_path, environment=environment)[:, 0]) == {0}


def test_postgresql_when_it_refuses_a_query_says_the_code(
    tmp_path: Path, database: Cluster
) -> None:
    for query, code in (
        ("select nothing from patients", "UndefinedColumn, 42703"),
        (f"select '{SECRET}'::int as age", "InvalidTextRepresentation, 22P02"),
        (WRITES[0], "FeatureNotSupported, 0A000"),
        (WRITES[2], "ReadOnlySqlTransaction, 25006"),
    ):
        source, environment = source_of(database, query=query)
        error = refusal("", source, tmp_path, environment=environment)
        assert code in str(error)


def test_postgresql_when_a_date_is_beyond_python_says_no_value(
    tmp_path: Path, database: Cluster
) -> None:
    query = SELECT.replace("age", "'infinity'::date as age")
    source, environment = source_of(database, query=query)
    refusal("", source, tmp_path, environment=environment)


def test_postgresql_when_it_takes_too_long_is_stopped(tmp_path: Path, database: Cluster) -> None:
    source, environment = source_of(database, query=SELECT + ", pg_sleep(30)", timeout_seconds=1)
    error = refusal("", source, tmp_path, environment=environment)
    assert "QueryCanceled" in str(error)


def test_postgresql_when_there_are_more_rows_than_allowed_is_not_cut_off(
    tmp_path: Path, database: Cluster
) -> None:
    query = "select g % 90 as age, 1.5 as pressure, 'mild' as pain, true as smoker, 0 as outcome"
    source, environment = source_of(database, query=query + " from generate_series(1, 9000) g")
    refusal("has more than", source, tmp_path, environment=environment, max_rows=8999)
    assert len(values(source, tmp_path, environment=environment, max_rows=9000)) == 9000


def test_postgresql_when_it_stores_nan_and_null_calls_them_missing(
    tmp_path: Path, database: Cluster
) -> None:
    database.run(
        "update patients set pressure = 'NaN' where patient = 'P0001'",
        "update patients set pain = null where patient = 'P0002'",
    )
    source, environment = source_of(database)
    error = refusal("does not fit its schema", source, tmp_path, environment=environment)
    assert [(one.column, one.rows) for one in error.problems] == [("pressure", 1), ("pain", 1)]


def test_logs_when_everything_is_logged_hold_no_row_and_no_password(
    tmp_path: Path, database: Cluster, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    database.run(f"update patients set patient = '{SECRET}', age = 77, pain = 'none'")
    source, environment = source_of(database)
    silent = logging.getLogger("sqlalchemy")
    level = silent.level
    with caplog.at_level(logging.DEBUG):
        try:
            silent.setLevel(logging.DEBUG)
            assert len(values(source, tmp_path, environment=environment)) == 60
            values(write_sqlite(tmp_path, patients(30)), tmp_path)
            with pytest.raises(SourceError):
                values({**source, "table": "nowhere"}, tmp_path, environment=environment)
        finally:
            silent.setLevel(level)
    out, err = capfd.readouterr()
    said = caplog.text + out + err
    assert "Row" not in said
    assert "77" not in said
    assert PASSWORD not in said
    assert "horse" not in said


TYPED = """create table typed (
    patient uuid, age real, weight numeric(12, 3), code numeric(6, 2), kind char(9), born date,
    alive boolean, record bigint, outcome text)"""
TYPED_FEATURES = [
    {"name": "age", "type": "numeric"},
    {"name": "weight", "type": "numeric"},
    {"name": "code", "type": "category", "categories": ["250.10", "250.00"]},
    {"name": "kind", "type": "category", "categories": ["in", "out"]},
    {"name": "born", "type": "category", "categories": ["1970-01-02", "1999-12-31"]},
    {"name": "alive", "type": "category", "categories": [False, True]},
    {"name": "record", "type": "category", "categories": [2**53, 2**53 + 1]},
]


def test_postgresql_and_the_file_that_it_exports_give_equal_rows(
    tmp_path: Path, database: Cluster
) -> None:
    rows = [
        (
            str(uuid.UUID(int=at // 2)), 20.1 + at, None if at % 9 == 0 else f"-{at}.500",
            ["250.10", "250.00"][at % 2], ["in", "out"][at % 2],
            ["1970-01-02", "1999-12-31"][at % 2], at % 3 == 0, 2**53 + at % 2,
            ["well", "ill"][at // 2 % 2],
        )
        for at in range(60)
    ]  # fmt: skip
    marks = ", ".join(["%s"] * 9)
    database.run("drop table if exists typed", TYPED, (f"insert into typed values ({marks})", rows))
    import psycopg

    export = "copy typed to stdout (format csv, header)"
    with psycopg.connect(database.url()) as connection, connection.cursor().copy(export) as lines:
        (tmp_path / "typed.csv").write_bytes(b"".join(lines))
    changes = {
        "features": TYPED_FEATURES,
        "label": {"column": "outcome", "classes": [["well"], ["ill"]]},
        "group": "patient",
        "ignore": [],
        "on_missing": "drop",
        "missing": ["", "-10.5"],
        "scaling": "none",
    }
    source, environment = source_of(database, table="typed")
    exported = {"type": "csv", "path": "typed.csv"}
    one = load_site_data(settings(source, **changes), place(tmp_path, **environment))
    other = load_site_data(settings(exported, **changes), place(tmp_path))
    assert len(one.train) + len(one.test) == 60 - 7 - 1
    for ours, theirs in ((one.train, other.train), (one.test, other.test)):
        assert ours.features.tobytes() == theirs.features.tobytes()
        assert ours.labels.tolist() == theirs.labels.tolist()
        assert ours.people == theirs.people


@pytest.mark.parametrize("named", ["Age", "ages"])
def test_postgresql_when_a_declared_column_is_not_there_names_it(
    tmp_path: Path, database: Cluster, named: str
) -> None:
    features = settings({"type": "csv", "path": ""}).model_dump()["features"]
    features[0]["name"] = named
    source, environment = source_of(database)
    error = refusal("", source, tmp_path, environment=environment, features=features)
    assert error.problems[0].column == named
    assert ("column 2 differs only in capitals" in str(error)) == (named == "Age")
