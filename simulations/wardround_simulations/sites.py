"""Simulated sites: each has a hospital's home, approves the study, and is guarded.

A hospital's guard is a process of its own. In a simulation all of them are in one process, called
directly where the sites train in it too, and behind their sockets where they train elsewhere.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount

from wardround.audit.folders import Folders
from wardround.chain.ward_round import WardRound
from wardround.host.durable import write_private
from wardround.learning.datasets.table import SiteData, save_table
from wardround.protocol.canonical import canonical_digest
from wardround.protocol.documents import toml_of
from wardround.protocol.identifiers import SiteAddress, StudyId
from wardround_client.guard.approvals import Approvals
from wardround_client.guard.client import in_process
from wardround_client.guard.guard import Guard
from wardround_client.guard.log import Now
from wardround_client.guard.server import GuardServer
from wardround_client.home import Home, make_home
from wardround_client.settings import PolicyTable
from wardround_client.site_approval import propose
from wardround_client.trainer.local import LocalTrainer

PASSWORDS = "passwords"
#: Equal commands give equal models, so it is known to all readers of this line: a simulation's
#: secrets are none.
SIMULATION_KEY = "wardround simulation"
#: Simulated rows are no secret: every model is measured, without noise.
_OPEN = {"measure_noise": 0.0, "measured_models": 10**6}
#: A simulated key is worth nothing; a hospital's keystore takes 131,072 times the work.
_SCRYPT_ITERATIONS = 2


@dataclass(frozen=True)
class Party:
    """A simulated hospital: its name, its key, its tables, and what range it declares of them."""

    name: str
    account: LocalAccount
    data: SiteData
    range: list[float] | None = None


def site_secret(simulation_key: str, site: str) -> bytes:
    """Make the secret of a simulated site; a hospital's guard makes its own of its signing key."""
    return canonical_digest(["site secret", simulation_key, site])


def password_file(root: Path, name: str) -> Path:
    """Where the password of a site's keystore is; a hospital keeps it elsewhere."""
    return root / PASSWORDS / f"{name}.txt"


def make_site(
    folders: Folders,
    party: Party,
    contract: WardRound,
    policy: PolicyTable,
    now: int,
    simulation_key: str = SIMULATION_KEY,
) -> Home:
    """Make a site's home as `wardround site init` does, with its tables."""
    home = Home(folders.sites / party.name)
    password = secrets.token_urlsafe(18)
    folders.root.joinpath(PASSWORDS).mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(password_file(folders.root, party.name), password + "\n")
    tables: dict[str, Mapping[str, Any]] = {
        "site": {"name": party.name},
        "chain": {
            "endpoints": [contract.chain.url],
            "chain_id": contract.chain.chain_id,
            "contract": contract.address.lower(),
        },
        "policy": {**_OPEN, **policy.model_dump(exclude_unset=True)},
        "data": {"name": party.name, "train": "train.npz", "test": "test.npz"}
        | ({} if party.range is None else {"range": party.range})
        | ({} if party.data.train.groups is None else {"group": "groups"}),
    }
    key = bytes(party.account.key)
    make_home(
        home.folder,
        toml_of(tables.items()),
        password,
        now,
        key=key,
        secret=site_secret(simulation_key, party.name),
        iterations=_SCRYPT_ITERATIONS,
    )
    save_table(party.data.train, home.folder / "train.npz")
    save_table(party.data.test, home.folder / "test.npz")
    return home


def approve(
    home: Home, party: Party, contract: WardRound, study: StudyId, store: str, now: int
) -> None:
    """Approve a study as `wardround site approve` does, without asking.

    Raises:
        Refusal: the site's policy forbids the study, which a hospital would not join.
    """
    proposal = propose(home, contract, study, store, None, now)
    address = SiteAddress(party.account.address)
    Approvals(home.approvals, address).give(proposal.approval, bytes(party.account.key))


@contextmanager
def guarded(
    homes: Mapping[str, Home],
    parties: Iterable[Party],
    now: Now,
    *,
    at_sockets: bool = False,
) -> Iterator[None]:
    """Guard all sites of a network for a block.

    Args:
        homes: by name.
        parties: the sites.
        now: seconds since 1970.
        at_sockets: let them listen, for sites that train in processes of their own.
    """
    with ExitStack() as stack:
        for party in parties:
            key = bytes(party.account.key)
            guard = Guard(homes[party.name], key, now, LocalTrainer(), simulated=True)
            stack.callback(guard.close)
            if at_sockets:
                stack.enter_context(_listening(guard))
            else:
                stack.enter_context(in_process(guard.home, guard))
        yield


@contextmanager
def _listening(guard: Guard) -> Iterator[None]:
    server = GuardServer(guard)
    thread = threading.Thread(target=server.serve, name=f"guard of {guard.name}")
    thread.start()
    try:
        yield
    finally:
        server.stop()
        thread.join()
