"""Sponsor, coordinator and readers at the command line: a confidential study from end to end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from eth_account import Account
from typer.testing import CliRunner

from wardround.chain.errors import ContractReverted
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.command_line import app
from wardround.devchain.anvil import Anvil
from wardround.devchain.errors import AnvilMissing
from wardround.devchain.evm import Genesis
from wardround.host.durable import write_private
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import hex_of
from wardround.protocol.record import Recording, RuleId
from wardround.store import FolderStore
from wardround.store.errors import ObjectSealed
from wardround.store.study_store import open_study_store
from wardround_simulations.stage import BOND, REWARD, Parties, Stage, specification

ETHER = 10**18


@dataclass
class Study:
    """A study on an anvil whose coordinator writes confidentially, and its folder of keys."""

    anvil: Anvil
    ward: WardRound
    stage: Stage
    folder: Path
    grants: str = ""

    @property
    def id(self) -> str:
        return hex_of(self.stage.study)

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(app, list(words))

    def said(self, *words: str) -> str:
        result = self.run(*words)
        assert result.exception is None, result.exception
        return result.output

    def failed(self, *words: str) -> Any:
        result = self.run(*words)
        assert result.exit_code != 0
        return result.exception

    def chain(self, *more: str) -> list[str]:
        return ["--rpc", self.anvil.url, *more]

    def keygen(self, name: str) -> str:
        out = self.said("store", "keygen", str(self.folder / name))
        return out.split("public key: ")[1].split()[0]

    def give(self, who: str, public: str, *more: str) -> str:
        key = str(self.folder / "sponsor.key")
        return self.said(
            *("grants", "give", self.id, who, public, "--grants", self.grants, "--key", key),
            *self.chain(*more),
        )

    def store(self, after: str = "") -> str:
        return f"confidential:{self.folder / 'objects'}#grants={self.grants}{after}"

    def audit(self, store: str) -> list[str]:
        words = ["audit", self.id, "--contract", self.ward.address, "--store", store]
        return [*words, *self.chain()]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    folder = tmp_path_factory.mktemp("confidential")
    parties = Parties.new()
    balances = dict.fromkeys(parties.addresses, 1000 * ETHER)
    try:
        anvil = Anvil(Genesis(31337, 1_760_000_000, balances))
    except AnvilMissing as error:
        pytest.skip(str(error))
    with anvil:
        token = StudyToken.deploy(anvil.chain, parties.sponsor, 4 * REWARD + 2 * BOND)
        ward = WardRound.deploy(anvil.chain, parties.sponsor)
        spec = specification("confidential", Recording.FULL, RuleId.MEAN, 2, 0)
        stage = Stage(ward, token, parties, spec, folder / "plain")
        shutil.copytree(folder / "plain", folder / "objects")
        write_private(folder / "sponsor.key", parties.sponsor.key.hex())
        found = Study(anvil, ward, stage, folder)
        out = found.said(
            *("grants", "deploy", "--contract", ward.address),
            *("--key", str(folder / "sponsor.key")),
            *found.chain(),
        )
        found.grants = out.split("grants contract: ")[1].strip()
        for name, account in (("coordinator", parties.first), ("sponsor", parties.sponsor)):
            public = found.keygen(f"{name}-reading.key")
            assert "may read" in found.give(account.address, public)
        stage.store = open_study_store(  # type: ignore[assignment]
            found.store("&key=coordinator-reading.key"), folder, ward, stage.study, parties.first
        )
        stage.close(parties.first)
        yield found


def test_confidential_study_from_end_to_end(study: Study) -> None:
    reader = Account.create()
    write_private(study.folder / "reader.account", reader.key.hex())
    public = study.keygen("reader.key")
    sites = len(study.stage.sites)

    # Without a grant: what is public is audited, what could not be read is named.
    result = study.run(*study.audit(study.store()))
    assert isinstance(result.exception, ObjectSealed)
    assert f"{sites + 1} vectors are encrypted" in str(result.exception)
    assert f"round 1: {sites} signatures and reports verified" in result.output
    for site in study.stage.sites:
        assert f"encrypted, and no grant: update of {site.address} (ba" in result.output
    assert "encrypted, and no grant: model (ba" in result.output
    assert "All holds" not in result.output

    # With one, handed over at once by the sponsor: all of it, here and through a gateway.
    sponsor = study.store(f"&key={study.folder / 'sponsor-reading.key'}")
    assert "handed to" in study.give(reader.address, public, "--store", sponsor)
    assert "nothing was sent" in study.give(reader.address, public)
    mine = f"&key={study.folder / 'reader.key'}"
    assert "All holds" in study.said(*study.audit(study.store(mine)))
    listed = study.said("grants", "list", study.id, "--grants", study.grants, *study.chain())
    assert f"{reader.address}  {public}" in listed
    assert listed.startswith("epoch 1\n")
    with gateway(study) as url:
        account = f"&account={study.folder / 'reader.account'}"
        remote = f"confidential:{url}#grants={study.grants}{mine}{account}"
        assert "All holds" in study.said(*study.audit(remote))
        stranger = f"confidential:{url}#grants={study.grants}"
        assert isinstance(study.failed(*study.audit(stranger)), ObjectSealed)

    # Revoked: what came before is read, what comes after is not.
    key = str(study.folder / "sponsor.key")
    words = ["grants", "revoke", study.id, reader.address, "--grants", study.grants, "--key", key]
    assert "from epoch 2 on" in study.said(*words, *study.chain())
    assert isinstance(study.failed(*words, *study.chain()), ObjectSealed)
    study.stage.close(study.stage.parties.first)
    result = study.run(*study.audit(study.store(mine)))
    assert isinstance(result.exception, ObjectSealed)
    assert f"{sites + 1} vectors are encrypted" in str(result.exception)
    assert f"round 1: {sites} signatures and reports verified" in result.output
    assert "; 0 vectors not read" in result.output
    own = study.store(f"&key={study.folder / 'sponsor-reading.key'}")
    assert "All holds" in study.said(*study.audit(own))


class gateway:
    """`wardround store serve` as a process."""

    def __init__(self, study: Study) -> None:
        self._words = [
            *(sys.executable, "-m", "wardround", "store", "serve", str(study.folder / "objects")),
            *("--grants", study.grants, "--port", "0", *study.chain()),
        ]

    def __enter__(self) -> str:
        self._process = subprocess.Popen(
            self._words,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("serving on http://127.0.0.1:"), line
        return line.split(" on ")[1].split(";")[0]

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.wait(30)


def test_damaged_public_document_fails_without_a_grant_too(study: Study) -> None:
    copy = study.folder / "copy"
    shutil.copytree(study.folder / "objects", copy)
    store = FolderStore(copy)
    reports = [cid for cid in store.cids() if b'"seconds"' in store.get(cid)]
    whole = store.get(reports[0])
    (copy / reports[0]).write_bytes(whole.replace(b'"round":', b'"rounD":'))
    assert (copy / reports[0]).read_bytes() != whole
    error = study.failed(*study.audit(f"confidential:{copy}#grants={study.grants}"))
    assert not isinstance(error, ObjectSealed)
    assert reports[0] in str(error)


def test_grants_of_somebody_else_are_refused(study: Study) -> None:
    other = Account.create()
    write_private(study.folder / "other.key", study.stage.parties.auditor.key.hex())
    words = ["grants", "give", study.id, other.address]
    key = ["--grants", study.grants, "--key", str(study.folder / "other.key"), *study.chain()]
    error = study.failed(*words, study.keygen("another-reading.key"), *key)
    assert isinstance(error, ContractReverted)
    assert error.name == "Grants_NotSponsor"
    assert isinstance(study.failed(*words, "0x" + "00" * 32, *key), Malformed)
    assert study.run(*words, "0x12", *key).exit_code != 0


def test_key_file_is_never_overwritten(study: Study) -> None:
    before = (study.folder / "sponsor-reading.key").read_text()
    error = study.failed("store", "keygen", str(study.folder / "sponsor-reading.key"))
    assert isinstance(error, FileExistsError)
    assert (study.folder / "sponsor-reading.key").read_text() == before


def test_repair_mends_replicas(tmp_path: Path) -> None:
    first, second = FolderStore(tmp_path / "a"), FolderStore(tmp_path / "b")
    cid = first.put(b"model")
    url = f"{first.folder.as_uri()},{second.folder.as_uri()}"
    result = CliRunner().invoke(app, ["store", "repair", url])
    assert result.output.startswith("1 objects given")
    assert second.get(cid) == b"model"
    assert CliRunner().invoke(app, ["store", "repair", first.folder.as_uri()]).exit_code == 2
