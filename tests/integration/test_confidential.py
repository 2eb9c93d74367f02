"""A run whose store is confidential: same models, nothing in the clear, and who may read what."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from typer.testing import CliRunner

from tests.explorer.serving import served
from tests.integration.networks import prepared, run, small_scenario
from tests.integration.test_operations import (
    GRACE_SECONDS,
    ROUND_SECONDS,
    SCENARIO,
    coordinate_in,
    models,
)
from wardround.audit.audit import StudyAudit
from wardround.audit.finished import FinishedRun, open_run, read_network
from wardround.audit.folders import MODEL_FILE, Folders
from wardround.chain.grants import Grants
from wardround.command_line import app
from wardround.explorer.indexer import Indexer
from wardround.explorer.reader import Reader
from wardround.explorer.source import run_source
from wardround.explorer.web import urls
from wardround.explorer.web.app import create_app
from wardround.explorer.web.explorer import Explorer
from wardround.host.key_file import read_key
from wardround.protocol.cid import cid_from_sha256
from wardround.protocol.errors import SpecificationError
from wardround.protocol.fixed_point import dequantize, vector_from_bytes
from wardround.protocol.manifest import parse_manifest
from wardround.protocol.study import parse_specification
from wardround.store import FolderStore
from wardround.store.confidential import ConfidentialStore
from wardround.store.errors import ObjectSealed
from wardround.store.gateway import Gateway
from wardround.store.gateway_vault import GatewayVault
from wardround.store.reading_key import read_reading_key
from wardround.store.study_store import local_vault, open_study_store
from wardround_simulations.confidential import AUDITOR_KEY, READING_KEY, SPONSOR_READING_KEY
from wardround_simulations.network import Network
from wardround_simulations.run import Watcher

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROUNDS, SITES = 3, 3


@dataclass(frozen=True)
class Played:
    """A run whose auditor was revoked after its first round was reported."""

    folders: Folders
    models: list[str]

    @property
    def sponsor(self) -> Path:
        return self.folders.root / SPONSOR_READING_KEY

    @property
    def auditor(self) -> Path:
        return self.folders.auditor / READING_KEY


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    folders = Folders(tmp_path_factory.mktemp("confidential") / "run")
    networks: list[Network] = []

    def on_round(summary: dict[str, object]) -> None:
        if summary["round"] == 1:
            (network,) = networks
            assert network.grants is not None
            grants = Grants(network.contract.chain, network.grants)
            auditor = read_key(folders.auditor / AUDITOR_KEY).address
            assert grants.revoke(network.keys.sponsor, network.study, auditor) is not None

    watcher = Watcher(on_start=networks.append, on_round=on_round)
    results = run(small_scenario(), folders.root, watcher=watcher, confidential=True)
    return Played(folders, [one["model"] for one in results.rounds])


def vectors(opened: FinishedRun) -> list[list[str]]:
    """CIDs from the public manifests: the first base; then each round's updates and model."""
    manifests = [
        parse_manifest(opened.store.get(cid_from_sha256(one.closing.record.manifest)))
        for one in opened.contract.closed_rounds(opened.study)
    ]
    return [
        [manifests[0].base.cid],
        *([*(row.update.cid for row in m.contributions), m.model.cid] for m in manifests),
    ]


def test_models_when_encrypted_are_those_of_a_plain_run(played: Played, tmp_path: Path) -> None:
    plain = run(small_scenario(), tmp_path / "plain")
    assert played.models == [one["model"] for one in plain.rounds]
    assert len(played.models) == ROUNDS


def test_no_number_of_an_update_or_model_is_at_rest_without_a_key_beside_it(
    played: Played,
) -> None:
    with open_run(played.folders.root, reading=played.sponsor) as opened:
        names = [cid for one in vectors(opened) for cid in one]
        plain = {cid: opened.store.get(cid) for cid in names}
        scale = opened.contract.params(opened.study)
    assert len(names) == 1 + ROUNDS * (SITES + 1)
    last = vector_from_bytes(plain[names[-1]], len(plain[names[-1]]) // 4)
    weights = dequantize(last, 20)
    assert scale.parameter_count == len(weights)
    needles = [*plain.values(), weights[:-1].tobytes()]
    outside = [
        path
        for path in files(played.folders.root)
        # What a site keeps of its own answers is in its own home.
        if not path.is_relative_to(played.folders.sites)
    ]
    with_it = [path for path in outside if holds(path, needles)]
    # The exported model, which is the coordinator's, and nothing else.
    assert with_it == [played.folders.coordinator / MODEL_FILE]
    stored = FolderStore(played.folders.store)
    assert not set(names) & set(stored.cids())
    # The needles would be found: a plain store has them.
    copy = played.folders.store / ".sealed" / "needle"
    copy.write_bytes(b"x" + plain[names[1]])
    try:
        assert holds(copy, needles)
    finally:
        copy.unlink()


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def holds(path: Path, needles: list[bytes]) -> bool:
    data = path.read_bytes()
    return any(needle in data for needle in needles)


def test_audit_without_a_grant_checks_what_is_public_and_says_what_to_do(played: Played) -> None:
    result = CliRunner().invoke(app, ["audit", str(played.folders.root)])
    assert isinstance(result.exception, ObjectSealed)
    assert f"{ROUNDS * (SITES + 1)} vectors are encrypted" in str(result.exception)
    assert "ask the study's sponsor for a grant" in str(result.exception)
    assert "--reading-key FILE" in str(result.exception)
    for number in range(1, ROUNDS + 1):
        assert f"round {number}: {SITES} signatures and reports verified" in result.output
    assert "All holds" not in result.output


def test_audit_without_a_grant_finds_an_altered_document(played: Played, tmp_path: Path) -> None:
    folder = Folders(Path(shutil.copytree(played.folders.root, tmp_path / "run")))
    store = FolderStore(folder.store)
    report = next(cid for cid in store.cids() if b'"seconds"' in store.get(cid))
    path = folder.store / report
    path.write_bytes(path.read_bytes().replace(b'"round":', b'"rounD":'))
    result = CliRunner().invoke(app, ["audit", str(folder.root)])
    assert result.exception is not None
    assert not isinstance(result.exception, ObjectSealed)
    assert report in str(result.exception)


def test_audit_with_a_grant_recomputes_everything(played: Played) -> None:
    words = ["audit", str(played.folders.root), "--reading-key", str(played.sponsor)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.exception
    assert "All holds." in result.output
    assert result.output.count("mean recomputed") == ROUNDS
    coordinator = played.folders.coordinator / READING_KEY
    assert CliRunner().invoke(app, [*words[:-1], str(coordinator)]).exit_code == 0


def test_model_of_an_encrypted_store_takes_a_grant(played: Played, tmp_path: Path) -> None:
    out = tmp_path / MODEL_FILE
    words = ["model", "export", str(played.folders.root), "--out", str(out)]
    assert isinstance(CliRunner().invoke(app, words).exception, ObjectSealed)
    assert not out.exists()
    key = ["--reading-key", str(played.sponsor)]
    assert CliRunner().invoke(app, [*words, *key]).exit_code == 0
    assert out.read_bytes() == (played.folders.coordinator / MODEL_FILE).read_bytes()
    verify = ["model", "verify", str(out), str(played.folders.root)]
    assert CliRunner().invoke(app, [*verify, *key]).exit_code == 0
    assert isinstance(CliRunner().invoke(app, verify).exception, ObjectSealed)


def test_reader_when_revoked_reads_nothing_that_came_after(played: Played) -> None:
    with open_run(played.folders.root, reading=played.auditor) as opened:
        first, *rounds = vectors(opened)
        # A round is reported when the updates of the next are in.
        updates, came_after = rounds[1][:SITES], [*rounds[1][SITES:], *chain(*rounds[2:])]
        for cid in (*first, *rounds[0], *updates):
            opened.store.get(cid)
        for cid in came_after:
            with pytest.raises(ObjectSealed) as refused:
                opened.store.get(cid)
            assert "(epoch 2)" in str(refused.value)
        assert Grants(opened.chain, opened.file.grants or "").epoch(opened.study) == 2
    result = CliRunner().invoke(
        app, ["audit", str(played.folders.root), "--reading-key", str(played.auditor)]
    )
    assert isinstance(result.exception, ObjectSealed)
    assert f"{len(came_after)} vectors are encrypted" in str(result.exception)


def test_gateway_lets_in_who_the_run_names(played: Played) -> None:
    folders = played.folders
    with open_run(folders.root) as opened:
        grants = Grants(opened.chain, opened.file.grants or "")
        gateway = Gateway(local_vault("store", folders.root), grants, time.time).app()
        with served(gateway) as where:

            def rounds(account: Path | None, reading: Path | None) -> int:
                key = None if account is None else read_key(account)
                vault = GatewayVault(where, grants.domain, key, time.time)
                read = None if reading is None else read_reading_key(reading)
                store = ConfidentialStore(vault, opened.contract, grants, opened.study, read)
                with closing(store):
                    return len(list(StudyAudit(opened.contract, opened.study, store).rounds()))

            assert rounds(folders.root / "sponsor.key", played.sponsor) == ROUNDS
            # What a site reads before it approves the study is for everybody.
            address = f"confidential:{where}#grants={grants.address}"
            anyone = open_study_store(address, folders.root, opened.contract, opened.study)
            with closing(anyone):
                specification = opened.contract.params(opened.study).specification
                assert parse_specification(anyone.get(cid_from_sha256(specification)))
            # Revoked: nothing more, of what was readable before neither.
            for account in (folders.auditor / AUDITOR_KEY, None):
                with pytest.raises(ObjectSealed):
                    rounds(account, played.auditor)


def test_claims_need_no_grant(played: Played, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(played.folders.root, tmp_path / "run"))
    shutil.rmtree(folder / "auditor")
    (folder / SPONSOR_READING_KEY).unlink()
    (folder / "coordinator" / READING_KEY).unlink()
    result = CliRunner().invoke(app, ["claim", str(folder)])
    assert result.exit_code == 0, result.exception
    assert result.output.count(": paid ") == SITES


@pytest.fixture
def explored(played: Played, tmp_path: Path) -> Iterator[str]:
    """The explorer without a key."""
    with run_source(played.folders.root) as source:
        indexer = Indexer(source, tmp_path / "index.sqlite")
        indexer.catch_up()
        indexer.close()
        reader = Reader(tmp_path / "index.sqlite")
        try:
            with served(create_app(Explorer(reader, source))) as where:
                yield where
        finally:
            reader.close()


def test_explorer_without_a_grant_shows_rounds_and_says_what_is_encrypted(
    played: Played, explored: str
) -> None:
    study = read_network(played.folders.root).study
    with open_run(played.folders.root) as opened:
        _, *rounds = vectors(opened)
        with pytest.raises(ObjectSealed):
            opened.store.get(rounds[0][-1])
    model = rounds[0][-1]
    with httpx.Client(base_url=explored, timeout=30) as client:
        page = client.get(urls.round_page(study, 1))
        assert page.status_code == 200
        assert "missing" not in page.text
        for path in (urls.content(model), urls.raw(model), f"/api/objects/{model}"):
            answer = client.get(path)
            assert answer.status_code == 403, path
            assert "is encrypted" in answer.text
            assert "sponsor for a grant" in answer.text
        assert client.get(urls.evidence(study)).status_code == 403


def test_browser_checks_what_is_public_and_names_what_is_not(
    played: Played, explored: str, browser: Browser
) -> None:
    study = read_network(played.folders.root).study
    with browser.new_page() as page:
        page.set_default_timeout(15_000)
        page.goto(explored + urls.round_page(study, 1))
        checked = pressed(page, "check")
        assert checked.startswith("✓ All "), checked
        left = page.locator("#check-result li.skipped").all_inner_texts()
        assert any("encrypted, and this explorer has no key" in one for one in left)
        assert "updates and models are encrypted" in pressed(page, "replay")
        assert page.locator("#replay-result li.fails").count() == 0


def pressed(page: Page, button: str) -> str:
    page.locator(f"#{button}").click()
    page.locator(f"#{button}:not([disabled])").wait_for()
    return page.locator(f"#{button}-result .verdict").inner_text()


def test_export_needs_the_key_and_then_proves_everything(played: Played, tmp_path: Path) -> None:
    archive = tmp_path / "evidence.zip"
    words = ["export", str(played.folders.root), "-o", str(archive)]
    words += ["--index", str(tmp_path / "export.sqlite")]
    assert isinstance(CliRunner().invoke(app, words).exception, ObjectSealed)
    assert not archive.exists()
    result = CliRunner().invoke(app, [*words, "--reading-key", str(played.sponsor)])
    assert result.exit_code == 0, result.exception
    assert "All holds." in CliRunner().invoke(app, ["audit", str(archive)]).output


def test_reading_key_for_a_plain_run_is_refused(tmp_path: Path, played: Played) -> None:
    run(small_scenario(study={"rounds": 1}), tmp_path / "plain")
    words = ["audit", str(tmp_path / "plain"), "--reading-key", str(played.sponsor)]
    assert isinstance(CliRunner().invoke(app, words).exception, SpecificationError)
    assert CliRunner().invoke(app, ["audit", "0x12", *words[2:]]).exit_code == 2


def test_coordinator_that_dies_is_followed_by_itself_and_a_standby(tmp_path: Path) -> None:
    with prepared(SCENARIO, tmp_path / "network", standbys=1, confidential=True) as network:
        first, second = network.folders.coordinator, network.folders.standby(1)
        coordinate_in(network, first, until=1)
        coordinate_in(network, first, until=2)
        network.contract.chain.advance(ROUND_SECONDS + GRACE_SECONDS)
        coordinate_in(network, second, standby=True)
        undisturbed = run(SCENARIO, tmp_path / "plain")
        assert models(network) == [one["model"] for one in undisturbed.rounds]
        with network.store() as store:
            audit = StudyAudit(network.contract, network.study, store)
            assert len(list(audit.rounds())) == network.params.rounds
