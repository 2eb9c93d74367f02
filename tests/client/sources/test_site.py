"""A site on a table of its own: wherever its rows lie, its guard reads the same."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from tests.client.guard.conftest import Ward, approve, guarded, make
from tests.client.sources.conftest import PASSWORD, Cluster
from tests.integration.networks import FEATURES
from wardround.protocol.report import parse_report
from wardround_client.errors import RefusedForNow
from wardround_client.home import Home
from wardround_simulations.network import Network

COLUMNS = [f"x{place}" for place in range(FEATURES)]


def rows(count: int = 60) -> list[list[float | int]]:
    random = np.random.default_rng(3)
    return [
        [*(round(float(value), 3) for value in random.normal(size=FEATURES)), int(label)]
        for label in random.integers(2, size=count)
    ]


def data_text(source: str) -> str:
    features = "\n".join(
        f'[[data.features]]\nname = "{name}"\ntype = "numeric"' for name in COLUMNS
    )
    label = '[data.label]\ncolumn = "outcome"\nclasses = [[0], [1]]'
    return f'name = "patients"\n[data.source]\n{source}\n{label}\n{features}'


def write(kind: str, folder: Path, count: int = 60) -> str:
    """Write the rows as a source of some kind; give its settings."""
    header, body = [*COLUMNS, "outcome"], rows(count)
    if kind == "csv":
        with (folder / "t.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *body])
        return 'type = "csv"\npath = "t.csv"'
    if kind == "parquet":
        columns = {name: [row[at] for row in body] for at, name in enumerate(header)}
        parquet.write_table(pyarrow.table(columns), folder / "t.parquet")
        return 'type = "parquet"\npath = "t.parquet"'
    with sqlite3.connect(folder / "t.db") as connection:
        connection.execute(f"create table patients ({', '.join(header)})")
        marks = ", ".join("?" for _ in header)
        connection.executemany(f"insert into patients values ({marks})", body)
    connection.close()
    return 'type = "sql"\nurl = "sqlite:///t.db"\ntable = "patients"'


def home_of(network: Network, folder: Path, source: str) -> Home:
    home = make(network, folder, data=data_text(source))
    # One secret, so that equal rows are taken in an equal order.
    home.secret.write_text("1f" * 32 + "\n", encoding="ascii")
    approve(network, home)
    return home


def contributed(network: Network, home: Home) -> tuple[bytes, int]:
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        delivery, _ = ward.train()
        facts = guard.check_table()
        examples = parse_report(delivery.report).examples
        assert delivery.entry.weight == examples
        assert (examples, examples + facts.tests) == (facts.examples, 60)
        return delivery.entry.update, examples


def test_site_when_its_rows_lie_elsewhere_trains_alike(network: Network, tmp_path: Path) -> None:
    found = set()
    for kind in ("csv", "parquet", "sqlite"):
        home = home_of(network, tmp_path / kind, write(kind, tmp_path))
        for name in ("t.csv", "t.parquet", "t.db"):
            if (tmp_path / name).exists():
                (tmp_path / name).replace(home.folder / name)
        found.add(contributed(network, home))
    assert len(found) == 1


@pytest.fixture
def database(postgresql: Cluster) -> Iterator[Cluster]:
    names = ", ".join(f"{name} double precision" for name in COLUMNS)
    postgresql.run(f"create table site_rows ({names}, outcome integer)")
    marks = ", ".join(["%s"] * (FEATURES + 1))
    postgresql.run((f"insert into site_rows values ({marks})", rows()))
    yield postgresql
    postgresql.run("drop table site_rows")


def test_site_when_its_rows_lie_in_postgresql_trains_alike(
    network: Network, tmp_path: Path, database: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        f'type = "sql"\nurl = "{database.url(password=None)}"\n'
        'password_variable = "HOSPITAL_PASSWORD"\ntable = "site_rows"'
    )
    home = home_of(network, tmp_path / "postgresql", source)
    with guarded(network, home) as guard, pytest.raises(RefusedForNow, match="HOSPITAL_PASSWORD"):
        guard.check_table()
    monkeypatch.setenv("HOSPITAL_PASSWORD", PASSWORD)
    plain = home_of(network, tmp_path / "csv", write("csv", tmp_path))
    (tmp_path / "t.csv").replace(plain.folder / "t.csv")
    assert contributed(network, home) == contributed(network, plain)
    assert PASSWORD not in home.log.read_text()


@pytest.mark.parametrize(
    ("count", "text", "words"),
    [
        (0, None, "has no rows"),
        (1, None, "1 rows where 20 are needed"),
        (60, "x0,outcome\n1,0\n", "it is missing"),
        (60, "", "has no rows"),
        (60, ",".join([*COLUMNS, "outcome"]) + "\n" + "a,b,c,d,e,f,0\n" * 30, "not a number in 30"),
    ],
)
def test_site_when_its_table_cannot_be_used_says_why_and_trains_nothing(
    network: Network, tmp_path: Path, count: int, text: str | None, words: str
) -> None:
    home = home_of(network, tmp_path / "home", write("csv", tmp_path, count))
    (tmp_path / "t.csv").replace(home.folder / "t.csv")
    if text is not None:
        (home.folder / "t.csv").write_text(text)
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        with pytest.raises(RefusedForNow, match="table-unusable") as refusal:
            ward.train()
        assert words in refusal.value.words
        assert ward.refusals() == ["table-unusable"]
