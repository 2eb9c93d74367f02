"""Refusals that name the one thing to change, and files as Windows and wallets write them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from eth_account import Account
from pyarrow import parquet

from tests.coordinator.test_settings import GOOD as COORDINATOR_SETTINGS
from tests.integration.networks import prepared, small_scenario
from wardround.host.key_file import read_key
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.documents import decode_text
from wardround.protocol.errors import Malformed, SpecificationError
from wardround.protocol.messages import TrainTask
from wardround.protocol.record import genesis_closing
from wardround.protocol.study import load_study
from wardround.store.reading_key import read_reading_key
from wardround_client.errors import Refusal
from wardround_client.guard.client import guard_of
from wardround_client.guard.contents import check_update
from wardround_client.password import read_password_file
from wardround_client.settings import SITE_FILE, load_home_settings
from wardround_client.sources.base import Place
from wardround_client.sources.errors import SourceError
from wardround_client.sources.prepare import load_site_data
from wardround_client.sources.preview import preview
from wardround_client.sources.rows import read_rows
from wardround_client.sources.settings import DataSettings
from wardround_coordinator.settings import COORDINATOR_FILE, load_coordinator_settings
from wardround_simulations.scenario import load_scenario

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"


def declared(**changes: Any) -> DataSettings:
    """A table of patients with a name, an age and an outcome."""
    value: dict[str, Any] = {
        "name": "patients",
        "ignore": ["surname"],
        "features": [{"name": "age", "type": "numeric", "range": [0, 120]}],
        "label": {"column": "outcome", "classes": [[0], [1]]},
    }
    source = {"type": "csv", "path": "patients.csv", **changes.pop("source", {})}
    return DataSettings.model_validate(value | {"source": source} | changes)


# ---------------------------------------------------------------- CSV files

HEADER = "surname,age,outcome"
LINES = [f"Smith,{20 + row},{row % 2}" for row in range(30)]
PLAIN = "\n".join([HEADER, *LINES]) + "\n"
NAMED = PLAIN.replace("Smith", "Müller")


@pytest.mark.parametrize(
    ("data", "source", "hint"),
    [
        (PLAIN.replace(",", ";").encode(), {}, r"\bdelimiter\b.*;"),
        (PLAIN.replace(",", "\t").encode(), {}, r"\bdelimiter\b"),
        (PLAIN.encode(), {"delimiter": ";"}, r"\bdelimiter\b.*,"),
        (NAMED.encode("latin-1"), {}, r"\bencoding\b.*(latin-1|cp1252)"),
        (PLAIN.replace("Smith", "Šmid").encode("cp1252"), {}, r"\bencoding\b.*cp1252"),
        (NAMED.encode("utf-8-sig"), {"encoding": "cp1252"}, r"\bencoding\b.*utf-8"),
        (NAMED.encode("utf-8-sig"), {"encoding": "latin-1"}, r"\bencoding\b.*utf-8"),
        (PLAIN.encode("utf-16"), {}, r"utf-16"),
        (PLAIN.encode("utf-16-be"), {}, r"utf-16"),
        (b"sep=,\n" + PLAIN.encode(), {}, r"sep="),
        (b"sep=;\r\n" + PLAIN.replace(",", ";").encode(), {"delimiter": ";"}, r"sep="),
        (PLAIN.replace(HEADER, HEADER.upper()).encode(), {}, r"capital|upper|lower|\bcase\b"),
        (PLAIN.replace("age", "Age").encode(), {}, r"capital|upper|lower|\bcase\b"),
        (re.sub("[^,\n]+", r'"\g<0>"', PLAIN).replace(",", ";").encode(), {}, r"\bdelimiter\b.*;"),
        (PLAIN.replace(",", "|").encode(), {"delimiter": ";"}, r"\bdelimiter\b.*\|"),
        (PLAIN.replace(",", ";").upper().encode(), {}, r"\bdelimiter\b.*;"),
        ((BOM + '"sep=;"\n' + PLAIN.replace(",", ";")).encode(), {}, r"sep="),
        (PLAIN.encode("utf-32"), {}, r"utf-32"),
        (b"PK\x03\x04" + bytes(range(256)), {}, r"Excel"),
        (b"\x1f\x8b" + bytes(range(256)), {}, r"unpack"),
        (b"PAR1" + bytes(range(256)), {}, r'type = "parquet"'),
        ("\n".join(LINES).encode(), {}, r"header"),
        (PLAIN.replace("Smith", "Sm\u00fcth\u00e4").encode("mac-roman"), {}, r"not utf-8"),
    ],
    ids=[
        *("semicolons", "tabs", "commas where semicolons are declared"),
        *("latin-1", "cp1252", "mark under cp1252", "mark under latin-1"),
        *("utf-16", "utf-16 without mark", "sep line", "sep line of semicolons"),
        *("capitals", "a capital", "semicolons and quotes", "bars", "semicolons and capitals"),
        *("sep line with a mark", "utf-32", "workbook", "packed", "parquet", "no header", "Mac"),
    ],
)
def test_csv_that_another_program_wrote_is_refused_with_what_to_change(
    tmp_path: Path, data: bytes, source: dict[str, str], hint: str
) -> None:
    """The columns are all there: only how the file is written was declared otherwise."""
    (tmp_path / "patients.csv").write_bytes(data)
    with pytest.raises(SourceError) as refusal:
        read_rows(declared(source=source), Place(tmp_path, {}))
    assert not any(name in str(refusal.value) for name in ("Smith", "ller", "mid"))
    assert re.search(hint, str(refusal.value), re.IGNORECASE | re.DOTALL)


def test_damaged_utf_8_is_not_taken_for_an_old_encoding(tmp_path: Path) -> None:
    """Read as latin-1 it would have no error, and two wrong letters for each right one."""
    data = bytearray(NAMED.encode())
    data[-10] = 0xFC
    (tmp_path / "patients.csv").write_bytes(data)
    with pytest.raises(SourceError) as refusal:
        read_rows(declared(), Place(tmp_path, {}))
    assert "latin-1" not in str(refusal.value)
    assert "export it again" in str(refusal.value)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_header_of_utf_8_under_an_old_encoding_names_it(tmp_path: Path, encoding: str) -> None:
    """Letters beyond ASCII become two wrong ones, so a column is not found."""
    text = PLAIN.replace("age", "gr\u00f6\u00dfe")
    (tmp_path / "patients.csv").write_text(text, encoding="utf-8")
    features = [{"name": "gr\u00f6\u00dfe", "type": "numeric"}]
    with pytest.raises(SourceError, match='encoding = "utf-8"'):
        read_rows(declared(source={"encoding": encoding}, features=features), Place(tmp_path, {}))
    assert len(read_rows(declared(features=features), Place(tmp_path, {}))) == 30


def test_header_after_empty_lines_is_found(tmp_path: Path) -> None:
    """Empty lines count nowhere in the file."""
    (tmp_path / "patients.csv").write_text("\n\n" + PLAIN.replace("\n", "\n\n"), encoding="utf-8")
    assert len(read_rows(declared(), Place(tmp_path, {}))) == 30


def test_column_of_nearly_the_declared_name_is_pointed_at_in_every_source(tmp_path: Path) -> None:
    """Where it is, and not what else the table has."""
    names = ["surname", "patient_age", "outcome"]
    features = [{"name": "Patient Age", "type": "numeric"}]
    rows = [line.split(",") for line in LINES]
    (tmp_path / "p.csv").write_text("\n".join([",".join(names), *LINES]), encoding="utf-8")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    parquet.write_table(pyarrow.table(columns), tmp_path / "p.parquet")
    connection = sqlite3.connect(tmp_path / "p.db")
    with connection:
        connection.execute(f"create table p ({', '.join(names)})")
        connection.executemany("insert into p values (?, ?, ?)", rows)
    connection.close()
    sql = {"type": "sql", "url": "sqlite:///p.db"}
    for source in (
        {"type": "csv", "path": "p.csv"},
        {"type": "parquet", "path": "p.parquet"},
        sql | {"table": "p"},
        sql | {"query": "select * from p"},
    ):
        settings = DataSettings.model_validate(
            declared(features=features).model_dump() | {"source": source}
        )
        with pytest.raises(SourceError, match="column 2 differs only in capitals") as refusal:
            read_rows(settings, Place(tmp_path, {}))
        assert refusal.value.problems[0].column == "Patient Age"


# ---------------------------------------------------------------- the division of rows


def one_patient() -> list[str]:
    return ["Smith,50,1"] * 60


def two_patients() -> list[str]:
    return ["Smith,79,0", "Jones,25,1"] * 30


def twenty_patients() -> list[str]:
    return LINES[:20]


SPLITS = [
    (one_patient, 0.25, r"equal|same side"),
    (two_patients, 0.25, r"equal|same side|test_share"),
    (twenty_patients, 0.001, r"test_share"),
    (twenty_patients, 0.999, r"test_share"),
]


def said_of(look: Callable[[DataSettings, Place], Any], settings: DataSettings, at: Place) -> str:
    """What an administrator reads: an outline, or a refusal; nothing where rows are loaded."""
    try:
        found = look(settings, at)
    except SourceError as refusal:
        return str(refusal)
    return "\n".join(found) if isinstance(found, list) else ""


@pytest.mark.parametrize("look", [preview, load_site_data], ids=["preview", "loading"])
@pytest.mark.parametrize(("lines", "test_share", "hint"), SPLITS)
def test_table_that_cannot_be_divided_says_why(
    tmp_path: Path,
    look: Callable[[DataSettings, Place], Any],
    lines: Callable[[], list[str]],
    test_share: float,
    hint: str,
) -> None:
    """There are rows enough: equal ones go to one side, or the share leaves a side empty."""
    text = "\n".join([HEADER, *lines()]) + "\n"
    (tmp_path / "patients.csv").write_text(text, encoding="utf-8")
    at = Place(tmp_path, {})
    # Where two kinds of rows go follows from the seed: one that puts them together is looked for.
    tried = [declared(test_share=test_share, seed=seed) for seed in range(20)]
    chosen = next(one for one in tried if said_of(load_site_data, one, at))
    said = said_of(look, chosen, at)
    assert re.search(hint, said)
    assert "lower min_rows" not in said


# ---------------------------------------------------------------- the bound of an update


@pytest.mark.parametrize(
    ("learning_rate", "bound"), [(1000.0, 16.0), (20.0, 0.5)], ids=["large", "small"]
)
def test_update_beyond_its_bound_names_coordinate_and_setting(
    tmp_path: Path, learning_rate: float, bound: float
) -> None:
    """The site reports which weight moved by how much, in the study's own units."""
    scenario = small_scenario(
        training={"learning_rate": learning_rate, "batch_size": 0},
        aggregation={"update_bound": bound},
    )
    with prepared(scenario, tmp_path / "network") as network:
        guard = guard_of(network.home(network.parties[0]))
        first = genesis_closing(network.params.initial_model)
        spec = canonical_bytes(scenario.specification.document())
        with pytest.raises(Refusal) as refusal:
            guard.train(TrainTask(network.params, first, 1, spec), network.initial.values)
        names = network.initial.layout.names
    said = str(refusal.value)
    assert f"update_bound {bound:g}" in said
    assert "scale_bits" not in said
    assert any(name in said for name in names)
    moved = re.search(r"moved by ([\d.]+)", said)
    assert moved is not None
    assert bound < float(moved[1]) < 2048


def test_guard_names_the_bound_that_an_update_exceeds() -> None:
    """The guard counts in fixed point, and speaks in the study's own units."""
    spec = small_scenario().specification
    update = np.array([0, 260 << spec.aggregation.scale_bits, 0], np.int32)
    with pytest.raises(Refusal) as refusal:
        check_update(update, np.zeros(3, np.int32), spec, None)
    assert "update_bound 16" in str(refusal.value)
    assert re.search(r"\b260\b", str(refusal.value))


# ---------------------------------------------------------------- files of settings

HOME = f"""[site]
name = "mercy"
[chain]
endpoints = ["http://127.0.0.1:8545"]
chain_id = 31337
contract = "0x{"ab" * 20}"
[data]
name = "patients"
train = "train.npz"
test = "test.npz"
"""
STUDY = """[study]
name = "mercy"
rounds = 2
[model]
name = "logistic"
arguments = { features = 6 }
[training]
learning_rate = 0.1
local_epochs = 1
"""
SCENARIO = STUDY + '[data]\nname = "generated"\n'

SETTINGS: dict[str, tuple[str, str, Callable[[Path], Any]]] = {
    "a home": (SITE_FILE, HOME, lambda path: load_home_settings(path.parent)),
    "a coordinator": (
        COORDINATOR_FILE,
        COORDINATOR_SETTINGS,
        lambda path: load_coordinator_settings(path.parent),
    ),
    "a study": (
        "study.toml",
        STUDY,
        lambda path: load_study(decode_text(path.read_bytes(), path.name), path.name),
    ),
    "a scenario": ("mercy.toml", SCENARIO, lambda path: load_scenario(str(path))[0]),
}


@pytest.mark.parametrize("whose", SETTINGS)
def test_settings_with_a_byte_order_mark_are_read(tmp_path: Path, whose: str) -> None:
    """Windows' editor writes the mark first, and ends lines with a carriage return."""
    name, text, load = SETTINGS[whose]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    expected = load(path)
    path.write_bytes((BOM + text.replace("\n", "\r\n")).encode())
    assert load(path) == expected


@pytest.mark.parametrize("whose", SETTINGS)
def test_settings_in_utf_16_name_what_to_save_them_as(tmp_path: Path, whose: str) -> None:
    """PowerShell writes it where a person redirects text into a file."""
    name, text, load = SETTINGS[whose]
    (tmp_path / name).write_text(text, encoding="utf-16")
    with pytest.raises(SpecificationError, match=r"UTF-16: save it as UTF-8"):
        load(tmp_path / name)


@pytest.mark.parametrize(
    "written",
    [
        BOM + "correct horse\r\n",
        "correct horse\r\n",
        "correct horse",
    ],
    ids=["mark", "carriage return", "no line end"],
)
def test_password_file_gives_the_password_alone(tmp_path: Path, written: str) -> None:
    """The keystore opens with what the administrator typed."""
    path = tmp_path / "password.txt"
    path.write_bytes(written.encode())
    assert read_password_file(path) == "correct horse"


# ---------------------------------------------------------------- key files

DIGITS = "1f" * 32

KEYS: dict[str, Callable[[Path], object]] = {
    "key": lambda path: bytes(read_key(path).key),
    "reading key": lambda path: read_reading_key(path).public,
}


@pytest.mark.parametrize("what", KEYS)
@pytest.mark.parametrize("written", ["0x{}", "0x{}\r\n", "0X{}\n"], ids=["0x", "line end", "0X"])
def test_key_that_begins_with_0x_is_read_or_refused_by_that_name(
    tmp_path: Path, what: str, written: str
) -> None:
    """Wallets write it so; the reader accepts it, or names what to leave out."""
    path = tmp_path / "key"
    path.write_text(DIGITS, encoding="ascii")
    expected = KEYS[what](path)
    path.write_text(written.format(DIGITS), encoding="ascii", newline="")
    said = ""
    try:
        found = KEYS[what](path)
    except Malformed as refusal:
        found, said = None, str(refusal)
    assert found == expected or "without 0x" in said


def test_key_without_prefix_is_read_with_any_line_end(tmp_path: Path) -> None:
    """Editors add line ends; a key is read all the same."""
    path = tmp_path / "key"
    for end in ("", "\n", "\r\n", " \n"):
        path.write_text(DIGITS.upper() + end, encoding="ascii", newline="")
        assert read_key(path).address == Account.from_key("0x" + DIGITS).address
