"""Documents that contradict the chain are shown as false, and never believed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from wardround.explorer.index.database import transaction
from wardround.explorer.index.objects import ObjectReader
from wardround.explorer.indexer import Indexer
from wardround.explorer.reader import Reader
from wardround.explorer.rounds import read_round
from wardround.explorer.rows import RoundDetail
from wardround.explorer.source import run_source
from wardround.explorer.studies import list_studies
from wardround.protocol.canonical import canonical_bytes, sha256_digest
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.identifiers import hex_of
from wardround.protocol.manifest import MANIFEST_MAX_BYTES, parse_manifest
from wardround.store import FolderStore

Damage = Callable[[Path], None]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def swell(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" " * MANIFEST_MAX_BYTES)


@pytest.fixture
def copy(run_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


def manifest_cid(index: Path, number: int) -> str:
    return round_of(index, number).manifest.cid


def round_of(index: Path, number: int) -> RoundDetail:
    reader = Reader(index)
    try:
        (study,) = list_studies(reader).rows
        return read_round(reader, study.study, number)
    finally:
        reader.close()


def indexed(run: Path, index: Path) -> Path:
    with run_source(run) as source:
        indexer = Indexer(source, index)
        indexer.catch_up()
        indexer.close()
    return index


@pytest.mark.parametrize(
    ("damage", "status"),
    [(flip, "altered"), (Path.unlink, "missing"), (swell, "too_large")],
    ids=["altered", "missing", "too_large"],
)
def test_manifest_that_is_not_what_it_was(
    copy: Path, run_index: Path, tmp_path: Path, damage: Damage, status: str
) -> None:
    damage(copy / "store" / manifest_cid(run_index, 2))
    index = indexed(copy, tmp_path / "index.sqlite")
    found = round_of(index, 2)
    assert (found.manifest.status, found.manifest.document) == (status, None)
    assert found.manifest.reason
    # The chain's own data is still there, and nothing that only the manifest has.
    assert len(found.entries) == found.summary.contributors
    for entry in found.entries:
        assert entry.on_chain
        assert (entry.signature_valid, entry.report) == (None, None)
    assert round_of(index, 1).manifest.status == round_of(index, 3).manifest.status == "verified"


def test_report_that_is_not_what_it_was(copy: Path, run_index: Path, tmp_path: Path) -> None:
    report = round_of(run_index, 2).entries[0].report_cid
    assert report is not None
    flip(copy / "store" / report)
    found = round_of(indexed(copy, tmp_path / "index.sqlite"), 2)
    assert (found.entries[0].report_status, found.entries[0].report) == ("altered", None)
    assert [entry.report_status for entry in found.entries[1:]] == ["verified"] * 3


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", "malformed"),
        (b"\xff" * 100, "malformed"),
        (b"[" * 100_000, "malformed"),
        (canonical_bytes({"protocol": "wardround/1"}), "malformed"),
        (None, "contradicts"),
    ],
    ids=["empty", "bytes", "nested", "fields", "another_round"],
)
def test_manifest_that_a_coordinator_committed_to_and_is_none(
    copy: Path, run_index: Path, tmp_path: Path, data: bytes | None, status: str
) -> None:
    """The index gets another digest, as if the record on chain had it."""
    store = FolderStore(copy / "store")
    if data is None:
        data = store.get(manifest_cid(run_index, 1))
        assert parse_manifest(data).round == 1
    assert store.put(data) == cid_from_sha256(sha256_digest(data))
    index = indexed(copy, tmp_path / "index.sqlite")
    with run_source(copy) as source:
        indexer = Indexer(source, index)
        with transaction(indexer.db):
            indexer.db.execute(
                "UPDATE closing SET manifest = ? WHERE round = 2", (hex_of(sha256_digest(data)),)
            )
            indexer.db.execute(
                "DELETE FROM manifest WHERE closing IN (SELECT id FROM closing WHERE round = 2)"
            )
        ObjectReader(indexer.db, store).fetch(10)
        indexer.close()
    found = round_of(index, 2)
    assert found.manifest.status == status
    assert found.manifest.reason
    assert all(entry.signature_valid is None for entry in found.entries)
