"""A network of processes whose coordinator lets one hospital not in: its own commands end that."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack

import pytest

from tests.integration.test_operations_live import (
    CHAIN_ID,
    ETHER,
    TABLES,
    Desk,
    Running,
    desk,
    until,
)
from wardround.audit.audit import StudyAudit
from wardround.chain.chain import open_chain
from wardround.chain.events import Registered
from wardround.chain.ward_round import WardRound
from wardround.devchain.durable_anvil import DurableAnvil
from wardround.devchain.evm import Genesis
from wardround.learning.datasets import load_dataset
from wardround.learning.datasets.table import save_table
from wardround.protocol.identifiers import StudyId, bytes32
from wardround.store import FolderStore
from wardround.transport.ports import free_port

__all__ = ["desk"]
pytestmark = [pytest.mark.deep, pytest.mark.timeout(900)]
HERE = "127.0.0.1"
ROUNDS = 2
STUDY = f"""
[study]
name = "lungs"
rounds = {ROUNDS}
[model]
name = "logistic"
arguments = {{ features = 6 }}
[training]
learning_rate = 0.2
batch_size = 8
local_epochs = 1
[aggregation]
min_sites = 1
[rewards]
per_round = "1000"
[chain]
bond = "5"
deposit = "3"
round_seconds = 660
registration_seconds = 60
demand_seconds = 600
"""


def test_hospital_that_is_not_let_in_registers_and_is_in_the_round(desk: Desk) -> None:
    keys = {
        name: re.findall(r"0x[0-9a-fA-F]{40}", desk.call("study", "keygen", f"{name}.key"))[0]
        for name in ("sponsor", "first")
    }
    genesis = Genesis(CHAIN_ID, int(time.time()), dict.fromkeys(keys.values(), 10 * ETHER))
    with ExitStack() as stack:
        anvil = stack.enter_context(DurableAnvil(desk.folder / "chain", genesis, port=free_port()))
        ward, study, sites = set_up(desk, anvil.url, keys)

        def start(*arguments: object) -> Running:
            one = Running.start(desk.folder, *arguments)
            stack.callback(one.kill)
            return one

        password = ("--password-file", "password")
        coordinator = start("coordinator", "run", "fl", "--leave")
        welcome = start("site", "run", "welcome", *password)
        # The other's node is not let in, so nothing ever asks it. Its guard trains all the same.
        guard = start("site", "guard", "censored", *password)
        until(lambda: (desk.folder / "censored" / "guard.sock").exists(), guard)
        where = (f"0x{study.hex()}", "censored", "--key", "sponsor.key")
        answering = start("site", "answer", *where, "--watch")
        for number in range(1, ROUNDS + 1):
            until(lambda number=number: ward.study(study).head == number, coordinator, welcome)
            said = desk.call("site", "contribute", *where, "--store", "store")
            assert f"registered its contribution to round {number}" in said
            until(lambda number=number: ward.study(study).head > number, coordinator)
            shown = f"showed chunks 0 to 0 of the update of round {number}"
            until(lambda shown=shown: answering.said(shown), answering)
        assert coordinator.process.wait(120) == 0

    with ExitStack() as stack:
        anvil = stack.enter_context(DurableAnvil(desk.folder / "chain", genesis, port=free_port()))
        ward = WardRound(open_chain(anvil.url, CHAIN_ID), ward.address)
        registered = [one for one in ward.events(study) if isinstance(one, Registered)]
        assert [(one.round, one.site.lower()) for one in registered] == [
            (number, sites["censored"]) for number in range(1, ROUNDS + 1)
        ]
        for audited in StudyAudit(ward, study, FolderStore(desk.folder / "store")).rounds():
            entries = audited.manifest.contributions
            assert {row.site for row in entries} == set(sites.values())


def set_up(desk: Desk, url: str, keys: dict[str, str]) -> tuple[WardRound, StudyId, dict[str, str]]:
    (desk.folder / "study.toml").write_text(STUDY, "utf-8")
    (desk.folder / "password").write_text("only for this test\n", "utf-8")
    said = desk.call(
        *("study", "create", "study.toml", "--chain", url, "--chain-id", CHAIN_ID),
        *("--key", "sponsor.key", "--store", "store", "--coordinator", keys["first"]),
    )
    values = dict(line.split()[:2] for line in said.splitlines()[:3])
    contract, study = values["contract"], values["study"]
    desk.call(
        *("coordinator", "init", "fl", "--chain", url, "--chain-id", CHAIN_ID),
        *("--contract", contract, "--study", study, "--key", "first.key", "--sites", 1),
        *("--host", HERE, "--listen", HERE, "--port", free_port(), "--store", "../store"),
    )
    assert "posted" in desk.call("coordinator", "bond", "fl")
    on_chain = ("--chain", url, "--contract", contract, "--key", "sponsor.key")
    tables = load_dataset(
        "generated", {"sites": 2, "rows": 40, "test_rows": 20, "features": 6}, data_dir=None
    ).sites
    sites = {}
    for name, data in zip(("welcome", "censored"), tables, strict=True):
        desk.call(
            *("site", "init", name, "--endpoint", url, "--chain-id", CHAIN_ID),
            *("--contract", contract, "--password-file", "password"),
        )
        home = desk.folder / name
        save_table(data.train, home / "train.npz")
        save_table(data.test, home / "test.npz")
        text = (home / "site.toml").read_text("utf-8").partition("# Your own table.")[0]
        text = text.replace("[policy]\n", '[policy]\naccept_solvable = ["lungs"]\n')
        (port,) = re.findall(r"port = (\d+)", (desk.folder / "fl/coordinator.toml").read_text())
        text = text.replace(
            "# [coordinator]\n",
            f'[coordinator]\naddress = "{HERE}:{port}"\nroot_certificate = "coordinator.pem"\n',
        )
        (home / "site.toml").write_text(text + TABLES, "utf-8")
        desk.copy("fl/tls/ca.pem", f"{name}/coordinator.pem")
        (sites[name],) = re.findall(r"0x[0-9a-f]{40}", (home / "enrolment.json").read_text())[:1]
        desk.call(
            *("study", "admit", study, sites[name], *on_chain),
            *("--payout", "0x" + "77" * 20, "--max-weight", 500),
        )
    assert "it is enrolled" in desk.call("coordinator", "add-site", "fl", "welcome/enrolment.json")
    desk.call("study", "open", study, *on_chain)
    for name in sites:
        desk.call(
            *("site", "approve", study, name, "--store", "store", "--yes"),
            *("--password-file", "password"),
        )
    ward = WardRound(open_chain(url, CHAIN_ID), contract)
    return ward, StudyId(bytes32(study, "study")), sites
