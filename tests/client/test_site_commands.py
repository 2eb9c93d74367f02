"""``wardround site ...`` as an administrator meets it, on a chain that is there."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eth_account import Account

from tests.calling import Call
from tests.client.guard.conftest import PASSWORD, approve, guarded, make
from tests.integration.networks import finished_run, run, small_scenario
from wardround.audit.finished import FinishedRun, open_run
from wardround.host.sandbox.machine import offered
from wardround.learning.datasets.table import Table, save_table
from wardround.protocol.contribution import Entry, sign_digest, unpack_entries
from wardround.protocol.errors import SpecificationError
from wardround.protocol.identifiers import hex_of
from wardround.transport.certificates import make_authority
from wardround_client.guard.approvals import Approvals
from wardround_client.guard.log import GuardLog
from wardround_client.home import Home
from wardround_client.keystore import keystore_address, open_keystore
from wardround_client.password import PASSWORD_VARIABLE, read_password_file
from wardround_client.sources.schema import TableSchema
from wardround_simulations.network import Network
from wardround_simulations.sites import password_file


@pytest.fixture
def call(call: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call ``wardround site`` in this process, in a folder of its own."""
    # A key under the work of a real keystore takes a second or more.
    monkeypatch.setattr("wardround_client.home.SCRYPT_ITERATIONS", 2)
    monkeypatch.setattr(
        "wardround_client.home.make_home.__kwdefaults__",
        {"key": None, "secret": None, "iterations": 2},
    )
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    return lambda *arguments: call("site", *arguments)


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return path


@pytest.fixture
def site(network: Network, tmp_path: Path) -> Home:
    """A home that has approved nothing yet."""
    return make(network, tmp_path / "hospital")


# ---------------------------------------------------------------- init


def test_init_when_done_prints_the_address_to_admit(
    call: Call, password: Path, tmp_path: Path
) -> None:
    said = call("init", "hospital", "--password-file", password).good
    home = Home(tmp_path / "hospital")
    assert keystore_address(home.folder / "keystore.json") in said
    assert open_keystore(home.folder / "keystore.json", PASSWORD)
    assert home.folder.stat().st_mode & 0o777 == 0o700
    settings = home.settings()
    assert settings.site.name == "hospital"
    assert settings.policy.evaluate


def test_init_when_options_are_given_writes_them(call: Call, password: Path) -> None:
    contract = "0x" + "AB" * 20
    ended = call(
        "init", "h", "--name", "mercy-west", "--endpoint", "https://rpc.example.org", "--chain-id",
        "10", "--contract", contract, "--password-file", password,
    )  # fmt: skip
    assert ended.status == 0
    settings = Home(Path("h")).settings()
    assert settings.site.name == "mercy-west"
    assert settings.chain.endpoints == ["https://rpc.example.org"]
    assert (settings.chain.chain_id, settings.chain.contract) == (10, contract.lower())


def test_init_when_its_lines_are_uncommented_is_still_valid(call: Call, password: Path) -> None:
    """The template's examples are valid settings."""
    assert call("init", "h", "--password-file", password).status == 0
    path = Path("h/site.toml")
    lines = path.read_text().splitlines()
    keys = [re.sub(r"^# (?=[a-z_]+ = |\[)", "", line) for line in lines]
    path.write_text("\n".join(keys))
    settings = Home(Path("h")).settings()
    assert settings.coordinator is not None
    assert settings.policy.max_epsilon == 8.0
    assert isinstance(settings.data, TableSchema)
    assert (settings.data.scaling, settings.data.group) == ("range", "patient_id")


def test_init_when_the_folder_is_in_use_touches_nothing(call: Call, password: Path) -> None:
    Path("h").mkdir()
    Path("h/mine").write_text("mine")
    assert "not an empty folder" in call("init", "h", "--password-file", password).error
    assert [one.name for one in Path("h").iterdir()] == ["mine"]


def test_init_when_the_name_is_strange_says_so(call: Call, password: Path) -> None:
    error = call("init", "h", "--name", "Mercy West", "--password-file", password).error
    assert "site.name" in error
    assert not Path("h").exists()


@pytest.mark.parametrize("text", ["", "\n"])
def test_init_when_the_password_is_empty_makes_nothing(
    call: Call, text: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").write_text(text)
    assert "password" in call("init", "h", "--password-file", tmp_path / "empty").error
    assert not Path("h").exists()


def test_init_when_nobody_can_type_a_password_says_what_to_give(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert "--password-file -" in call("init", "h").error
    assert not Path("h").exists()


def test_init_when_the_password_is_in_the_environment_refuses_it(
    call: Call, password: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every process of the user can read it there."""
    monkeypatch.setenv(PASSWORD_VARIABLE, "from outside")
    for words in ([], ["--password-file", password]):
        error = call("init", "h", *words).error
        assert "unset it, and give the password by --password-file FILE" in error
        assert "from outside" not in error
    assert not Path("h").exists()


def test_init_when_the_password_is_a_credential_of_systemd_takes_it(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wardround-password").write_text("kept by systemd\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert call("init", "h").status == 0
    assert open_keystore(Path("h/keystore.json"), "kept by systemd")


# ---------------------------------------------------------------- approve, revoke


def approval_of(network: Network, home: Home) -> Any:
    address = network.parties[0].account.address
    return Approvals(home.approvals, address).of(network.study)


def approving(network: Network, home: Home, password: Path, *more: object) -> list[object]:
    store = ["--store", network.folders.store]
    return [
        "approve", hex_of(network.study), home.folder, "--password-file", password,
        *(more or store), "--yes",
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["run", "guard", "status"])
def test_command_when_the_folder_is_no_site_says_so_before_it_wants_a_password(
    call: Call, command: str
) -> None:
    ended = call(command, "nowhere")
    assert ended.status == 1
    assert "site folder nowhere: it has no site.toml: make one with `site init`" in ended.err


def test_approve_when_read_and_confirmed_is_recorded(
    call: Call, network: Network, site: Home, password: Path
) -> None:
    said = call(*approving(network, site, password)).good
    assert approval_of(network, site).spec == network.scenario.specification
    for shown in (
        hex_of(network.study), hex_of(network.params.code), "as installed here", "small, 3 rounds",
        "logistic", "none asked for", "40 to train on", "mean of at least 2 sites",
        "weight up to 1,000,000", hex_of(network.params.specification),
    ):  # fmt: skip
        assert shown in said, shown


def test_approve_when_the_store_is_confidential_needs_no_key(
    call: Call, network: Network, site: Home, password: Path
) -> None:
    grants = network.contract.address  # of any contract: public objects need no grant
    store = f"confidential:{network.folders.store}#grants={grants}"
    assert "Approved" in call(*approving(network, site, password, "--store", store)).good
    assert approval_of(network, site)


def test_approve_when_the_specification_is_a_file_reads_it(
    call: Call, network: Network, site: Home, password: Path, tmp_path: Path
) -> None:
    document = network.scenario.specification.document()
    path = tmp_path / "study.toml"
    tables = {k: v for k, v in document.items() if v}
    lines = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        for key, value in table.items():
            if isinstance(value, dict):
                value_text = "{ " + ", ".join(f"{k} = {v}" for k, v in value.items()) + " }"
            else:
                value_text = json.dumps(value)
            if value is not None:
                lines.append(f"{key} = {value_text}")
    path.write_text("\n".join(lines))
    assert call(*approving(network, site, password, "--spec", path)).status == 0
    assert approval_of(network, site)


def test_approve_when_refused_by_the_person_records_nothing(
    call: Call, network: Network, site: Home, password: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typer.confirm", lambda words: False)
    ended = call(*approving(network, site, password)[:-1])
    assert ended.status == 1
    assert "Not approved" in ended.out
    assert list(site.approvals.iterdir()) == []


def test_approve_when_the_password_is_wrong_records_nothing(
    call: Call, network: Network, site: Home, password: Path
) -> None:
    password.write_text("wrong\n")
    assert "does not open" in call(*approving(network, site, password)).error
    assert list(site.approvals.iterdir()) == []


def test_approve_when_the_keystore_is_damaged_says_so(
    call: Call, network: Network, site: Home, password: Path
) -> None:
    (site.folder / "keystore.json").write_text("{}")
    assert "is damaged" in call(*approving(network, site, password)).error


def test_approve_when_the_chain_is_another_says_so(
    call: Call, network: Network, site: Home, password: Path
) -> None:
    text = site.settings_file.read_text()
    site.settings_file.write_text(text.replace("chain_id = 31337", "chain_id = 1"))
    assert "serves chain 31337, not 1" in call(*approving(network, site, password)).error


@pytest.mark.parametrize("study", ["0x12", "small", "0x" + "AB" * 32])
def test_approve_when_the_study_is_no_id_says_so(
    call: Call, site: Home, password: Path, study: str
) -> None:
    assert "64 lower-case" in call("approve", study, site.folder, "--yes").error


def test_approve_when_the_chain_has_no_such_study_says_so(
    call: Call, network: Network, site: Home
) -> None:
    study = "0x" + "ab" * 32
    error = call("approve", study, site.folder, "--store", network.folders.store, "--yes").error
    assert "no such study" in error


def test_approve_when_there_is_no_specification_says_what_to_give(
    call: Call, network: Network, site: Home, password: Path, tmp_path: Path
) -> None:
    error = call(*approving(network, site, password, "--password-file", password)).error
    assert "--store or --spec" in error
    assert "not in" in call(*approving(network, site, password, "--store", tmp_path / "s")).error


def test_approve_when_the_specification_is_another_says_so(
    call: Call, network: Network, site: Home, password: Path, tmp_path: Path
) -> None:
    from wardround.protocol.canonical import canonical_bytes

    other = small_scenario(training={"learning_rate": 0.9}).specification
    path = tmp_path / "other.json"
    path.write_bytes(canonical_bytes(other.document()))
    error = call(*approving(network, site, password, "--spec", path)).error
    assert "specification is 0x" in error


def test_approve_when_the_code_is_another_says_so(
    call: Call, network: Network, site: Home, password: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wardround_client.site_approval.application_digest", lambda: b"\x09" * 32)
    error = call(*approving(network, site, password)).error
    asked, here = hex_of(network.params.code), hex_of(b"\x09" * 32)
    assert f"nothing is approved: the study runs code {asked}, and {here} is installed" in error
    assert list(site.approvals.iterdir()) == []


def test_approve_when_the_table_does_not_fit_the_model_says_so(
    call: Call, network: Network, site: Home, password: Path
) -> None:
    wide = Table(np.zeros((9, 5), np.float32), np.zeros(9, np.int64))
    save_table(wide, site.folder / "train.npz")
    assert (
        "takes 6 features, and a row of this table has 5"
        in call(*approving(network, site, password)).error
    )


def test_approve_when_the_table_is_empty_says_so(
    call: Call, network: Network, site: Home, password: Path
) -> None:
    empty = Table(np.zeros((0, 6), np.float32), np.zeros(0, np.int64))
    save_table(empty, site.folder / "train.npz")
    assert "has no rows" in call(*approving(network, site, password)).error


def test_approve_when_the_table_has_a_budget_and_the_study_no_privacy_says_so(
    call: Call, network: Network, tmp_path: Path, password: Path
) -> None:
    home = make(network, tmp_path / "budget", policy="max_epsilon = 1.0")
    error = call(*approving(network, home, password)).error
    assert "privacy-refused: the study has no [privacy], so what it reveals" in error
    assert "ask the sponsor for a private study, or take max_epsilon out" in error


def test_revoke_when_done_is_noticed_and_cannot_be_done_twice(
    call: Call, network: Network, site: Home
) -> None:
    approve(network, site)
    assert "Revoked" in call("revoke", hex_of(network.study), site.folder).good
    assert "is not approved" in call("revoke", hex_of(network.study), site.folder).error


# ---------------------------------------------------------------- status, preview


def test_status_when_all_is_well_says_so(call: Call, network: Network, site: Home) -> None:
    approve(network, site)
    with guarded(network, site):
        said = call("status", site.folder).good
        found = json.loads(call("status", site.folder, "--json").good)
    assert "guard: answers" in said
    assert f"sandbox: {offered().words()}" in said
    assert "  privacy: epsilon 0 at delta 1e-06; the policy in force has no max_epsilon\n" in said
    assert "    privacy: epsilon 0 at delta 1e-06; 0 of 5 models measured\n" in said
    assert "round 1 is open; weight up to 1,000,000" in said
    assert found["studies"][0]["open_round"] == 1
    assert found["address"] == network.parties[0].account.address


def test_status_when_nothing_runs_says_that(call: Call, network: Network, site: Home) -> None:
    approve(network, site)
    text = site.settings_file.read_text()
    url = network.contract.chain.url
    site.settings_file.write_text(text.replace(url, "http://127.0.0.1:1"))
    said = call("status", site.folder).good
    assert "guard: not running\n" in said
    assert "does not answer" in said
    assert "(small): approved" in said


def test_status_when_an_approval_is_damaged_says_so(
    call: Call, network: Network, site: Home
) -> None:
    approve(network, site).write_text("{}")
    assert "is not one that this site gave" in call("status", site.folder).good


def test_status_when_the_account_is_lost_names_the_file(
    call: Call, network: Network, site: Home
) -> None:
    approve(network, site)
    site.log.unlink()
    said = call("status", site.folder).good
    assert f"  privacy: guard log {site.log} is missing" in said
    assert "(small): approved" in said


def test_status_when_a_study_is_revoked_still_shows_what_it_measured(
    call: Call, network: Network, site: Home
) -> None:
    approve(network, site)
    fields = {"study": hex_of(network.study), "model": "0x" + "11" * 32}
    log = GuardLog(site.log, lambda: 1)
    log.append("released", round=1, measures={"counts": [1] * 40, "noise": 4.0}, **fields)
    log.close()
    call("revoke", hex_of(network.study), site.folder)
    said = call("status", site.folder).good
    assert f"study {hex_of(network.study)} (?): not approved any more\n" in said
    assert "; 1 of 5 models measured\n" in said


@pytest.mark.parametrize("command", ["status", "history", "preview", "guard"])
def test_command_when_there_is_no_site_says_so(call: Call, command: str, password: Path) -> None:
    more = ["--password-file", password] if command == "guard" else []
    assert "site.toml" in call(command, "nowhere", *more).error


@pytest.mark.parametrize("command", ["status", "history", "preview"])
def test_command_when_the_settings_are_wrong_names_the_line(
    call: Call, site: Home, command: str
) -> None:
    site.settings_file.write_text(site.settings_file.read_text() + "\n[horse]\n")
    assert re.search(r"site\.toml:\d+: horse: no such key", call(command, site.folder).error)


def test_preview_when_tables_are_prepared_counts_rows(call: Call, site: Home) -> None:
    assert call("preview", site.folder).good.splitlines() == [
        "patients: about 40 training rows of shape (6,)",
        "patients: about 20 test rows of shape (6,)",
    ]
    text = site.settings_file.read_text("utf-8").replace("noise = 0.0", "noise = 4.0")
    site.settings_file.write_text(text, "utf-8")
    *_, last = call("preview", site.folder).good.splitlines()
    assert last.startswith("  no model would be measured: the noise of [policy] measure_noise = 4 ")
    assert last.endswith("102 test rows: write less noise, or evaluate = false")


# ---------------------------------------------------------------- guard


def test_guard_when_the_password_is_wrong_does_not_start(
    call: Call, site: Home, password: Path
) -> None:
    password.write_text("wrong")
    assert "does not open" in call("guard", site.folder, "--password-file", password).error
    assert not site.socket.exists()


def test_guard_when_the_chain_is_another_does_not_start(
    call: Call, site: Home, password: Path
) -> None:
    text = site.settings_file.read_text()
    site.settings_file.write_text(text.replace("chain_id = 31337", "chain_id = 5"))
    error = call("guard", site.folder, "--password-file", password).error
    assert "serves chain 31337, not 5" in error


def test_guard_when_its_log_is_gone_does_not_start(call: Call, site: Home, password: Path) -> None:
    site.log.unlink()
    error = call("guard", site.folder, "--password-file", password).error
    assert "guard.log is missing" in error


# ---------------------------------------------------------------- run


def name_coordinator(site: Home) -> None:
    with site.settings_file.open("a") as file:
        file.write('\n[coordinator]\naddress = "127.0.0.1:9"\nroot_certificate = "tls/ca.pem"\n')
    (site.folder / "tls").mkdir()


def test_run_when_the_coordinators_certificate_has_expired_starts_nothing(
    call: Call, site: Home, password: Path
) -> None:
    name_coordinator(site)
    long_ago = datetime.now(UTC) - timedelta(days=20)
    make_authority(site.folder / "tls", "gone", long_ago, 10)
    error = call("run", site.folder, "--password-file", password).error
    assert f"certificate {site.folder / 'tls' / 'ca.pem'} (valid from " in error
    assert " has expired" in error
    assert "ask the coordinator for its new one." in error
    assert not (site.folder / "logs").exists()


def test_run_when_the_coordinators_certificate_is_missing_starts_nothing(
    call: Call, site: Home, password: Path
) -> None:
    name_coordinator(site)
    error = call("run", site.folder, "--password-file", password).error
    assert "ca.pem cannot be used: No such file or directory" in error
    assert not (site.folder / "logs").exists()


# ---------------------------------------------------------------- history


def test_history_when_nothing_was_signed_says_so(call: Call, site: Home) -> None:
    assert call("history", site.folder).good == "Nothing was signed yet.\n"
    assert call("history", site.folder, "--json").good == ""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinishedRun]:
    with open_run(finished_run(tmp_path_factory.getbasetemp())) as opened:
        yield opened


@pytest.fixture(scope="module")
def rooted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinishedRun]:
    folder = tmp_path_factory.mktemp("rooted") / "run"
    run(small_scenario(study={"rounds": 1}, chain={"recording": "root"}), folder)
    with open_run(folder) as opened:
        yield opened


def home_in(opened: FinishedRun, folder: Path) -> tuple[Home, Any]:
    """The home that a site of a finished run would have had."""
    from wardround_client.home import make_home

    name = sorted(one.name for one in opened.folders.sites.iterdir())[0]
    simulated = Home(opened.folders.sites / name)
    password = read_password_file(password_file(opened.folders.root, name))
    account = Account.from_key(open_keystore(simulated.keystore(simulated.settings()), password))
    text = "\n".join(
        [
            f'[site]\nname = "{name}"',
            f'[chain]\nendpoints = ["{opened.chain.url}"]\nchain_id = {opened.chain.chain_id}',
            f'contract = "{opened.contract.address.lower()}"',
            '[data]\nname = "t"\ntrain = "train.npz"\ntest = "test.npz"',
        ]
    )
    make_home(folder, text, PASSWORD, 1, key=bytes(account.key), iterations=2)
    return Home(folder), account


def write_down(home: Home, study: bytes, number: int, base: bytes, entry: Entry) -> None:
    log = GuardLog(home.log, lambda: 1_760_000_000)
    log.append(
        "signed", study=hex_of(study), round=number, base=hex_of(base),
        update=hex_of(entry.update), update_bytes=4, weight=entry.weight, report="{}",
        report_sha256=hex_of(entry.report), signature=hex_of(entry.signature),
    )  # fmt: skip
    log.close()


def contributions(opened: FinishedRun) -> list[tuple[int, bytes, list[Entry]]]:
    """Every round of a run: its number, its base model, its entries."""
    closed = opened.contract.closed_rounds(opened.study)
    bases = [opened.contract.params(opened.study).initial_model]
    bases += [one.closing.record.model for one in closed]
    entries = [unpack_entries(one.entries or b"") for one in closed]
    return [(at + 1, bases[at], entries[at]) for at in range(len(closed))]


def resigned(opened: FinishedRun, account: Any, number: int, base: Any, entry: Entry) -> Entry:
    statement = entry.contribution(opened.study, number, base)
    digest = statement.signing_digest(opened.contract.domain)
    return replace(entry, signature=sign_digest(digest, bytes(account.key)))


def test_history_when_rounds_are_closed_says_what_became_of_each(
    call: Call, finished: FinishedRun, tmp_path: Path
) -> None:
    home, account = home_in(finished, tmp_path / "home")
    study = finished.study
    rounds = contributions(finished)
    own = [
        (number, base, next(one for one in entries if one.site == account.address))
        for number, base, entries in rounds
    ]
    number, base, entry = own[0]
    write_down(home, study, number, base, entry)
    # Another update than the one in the round.
    number, base, entry = own[1]
    other = resigned(finished, account, number, base, replace(entry, update=b"\x05" * 32))  # type: ignore[arg-type]
    write_down(home, study, number, base, other)
    # Trained from a model that the chain does not have any more.
    gone = b"\x06" * 32
    lost = resigned(finished, account, 3, gone, own[2][2])
    write_down(home, study, 3, gone, lost)
    # A line that another key signed.
    stranger = resigned(finished, Account.create(), 3, own[2][1], own[2][2])
    write_down(home, study, 3, own[2][1], stranger)
    lines = call("history", home.folder, "--json", "--store", finished.folders.store).good
    *signed, money = map(json.loads, lines.splitlines())
    fates = [(one["round"], one["fate"]) for one in signed]
    assert fates == [(1, "included"), (2, "left out"), (3, "overturned"), (3, "forged")]
    assert money["paid"] == 0
    assert money["earned"] > 0
    said = call("history", home.folder, "--store", finished.folders.store).good
    assert "left out" in said
    assert "earned" in said
    assert "earned" not in call("history", home.folder).good


def test_history_when_a_round_is_open_says_so(call: Call, network: Network, tmp_path: Path) -> None:
    from tests.client.guard.conftest import Ward

    home = make(network, tmp_path / "home")
    approve(network, home)
    with guarded(network, home) as guard:
        ward = Ward(network, home, guard)
        ward.client.train(ward.task, network.initial.values)
    (signed, _) = map(json.loads, call("history", home.folder, "--json").good.splitlines())
    assert (signed["round"], signed["fate"]) == (1, "open")


def test_history_when_sites_are_not_on_chain_asks_the_store(
    call: Call, rooted: FinishedRun, tmp_path: Path
) -> None:
    from wardround.protocol.cid import cid_from_sha256
    from wardround.protocol.manifest import parse_manifest

    home, account = home_in(rooted, tmp_path / "home")
    (closed,) = rooted.contract.closed_rounds(rooted.study)
    assert closed.entries is None
    manifest = parse_manifest(rooted.store.get(cid_from_sha256(closed.closing.record.manifest)))
    row = next(row for row in manifest.contributions if row.site == account.address.lower())
    base = rooted.contract.params(rooted.study).initial_model
    write_down(home, rooted.study, 1, base, row.entry())

    def fate(*more: object) -> str:
        lines = call("history", home.folder, "--json", *more).good.splitlines()
        return str(json.loads(lines[0])["fate"])

    assert fate() == "closed, sites not on chain"
    assert fate("--store", rooted.folders.store) == "included"
    assert fate("--store", tmp_path / "empty") == "closed, sites not on chain"


# ---------------------------------------------------------------- the policy


def test_policy_when_changed_counts_once_it_is_signed(
    call: Call, network: Network, site: Home, password: Path
) -> None:
    """A program of the site's user can write the file, and has no key."""
    address = keystore_address(site.keystore(site.settings()))
    assert "nothing to do" in call("policy", site.folder).good
    text = site.settings_file.read_text("utf-8").replace(
        "[policy]\n",
        '[policy]\nweight_step = 9\nmax_epsilon = 8.0\nevaluate = false\nsandbox = "none"\n',
    )
    site.settings_file.write_text(text, "utf-8")
    assert site.settings_in_force(address).policy.weight_step == 1
    said = call("status", site.folder).good
    assert "  not in force: [policy] weight_step: 1 becomes 9 once `wardround site policy`" in said
    assert "  sandbox: none, by" not in said
    said = call("policy", site.folder, "--yes", "--password-file", password).good
    assert "weight_step: 1 becomes 9" in said
    assert "max_epsilon: unset becomes 8.0" in said
    assert "evaluate: true becomes false" in said
    assert "  sandbox: none, by" in call("status", site.folder).good
    site.settings_file.write_text(text.replace("max_epsilon = 8.0\n", ""), "utf-8")
    assert (
        "not in force: [policy] max_epsilon: 8.0 becomes unset" in call("status", site.folder).good
    )
    assert site.settings_in_force(address).policy.weight_step == 9


def test_patients_column_when_changed_counts_once_it_is_signed(
    call: Call, network: Network, tmp_path: Path, password: Path
) -> None:
    """With another column, or none, each row would be a patient with an account of its own."""
    data = """
      name = "t"
      scaling = "range"
      group = "patient"
      source = {type = "csv", path = "t.csv"}
      features = [{name = "age", type = "numeric", range = [0, 120]}]
      label = {column = "died", classes = [["no"], ["yes"]]}
    """
    home = make(network, tmp_path / "named", data=data)
    address, line = keystore_address(home.keystore(home.settings())), 'group = "patient"'
    text = home.settings_file.read_text("utf-8")
    for changed, becomes in (('group = "visit"', '"visit"'), ("", "unset")):
        home.settings_file.write_text(text.replace(line, changed), "utf-8")
        assert home.settings_in_force(address).terms.group == "patient"
        assert f'[data] group: "patient" becomes {becomes}' in call("policy", home.folder).out
    assert "Approved" in call("policy", home.folder, "--yes", "--password-file", password).good
    assert home.settings_in_force(address).terms.group is None


@pytest.mark.parametrize("harm", ["gone", "torn", "loosened", "of another site"])
def test_policy_when_its_file_is_not_what_was_signed_is_not_in_force(
    call: Call, network: Network, site: Home, password: Path, tmp_path: Path, harm: str
) -> None:
    address = keystore_address(site.keystore(site.settings()))
    data = site.policy.read_bytes()
    if harm == "gone":
        site.policy.unlink()
    elif harm == "torn":
        site.policy.write_bytes(data[:-9])
    elif harm == "loosened":
        site.policy.write_bytes(data.replace(b'"measure_rows":20', b'"measure_rows":10'))
    else:
        site.policy.write_bytes(make(network, tmp_path / "b", 1).policy.read_bytes())
    with pytest.raises(SpecificationError, match="wardround site policy"):
        site.settings_in_force(address)
    assert "Approved" in call("policy", site.folder, "--yes", "--password-file", password).good
    assert site.settings_in_force(address).policy.measure_rows == 20
