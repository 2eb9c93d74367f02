"""``python -m client.supernode HOME NUMBER PORT``: Flower's SuperNode, behind our own layer.

There is one for each coordinator: number 0 for the first, the others for those that stand by.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from flwr.supernode.cli.flower_supernode import flower_supernode

from client.fleet import BundleGate, Fleet, install
from client.guard.approvals import Approvals
from client.guard.errors import ApprovalDamaged, StudyNotApproved
from client.home import Home
from client.keystore import keystore_address
from client.settings import CoordinatorTable, HomeSettings
from protocol.errors import SpecificationError, WardroundError
from protocol.identifiers import Digest
from transport.certificates import Address
from transport.enrolment import NODE_KEY
from transport.flower import flower_environment
from transport.supervision import told

#: One answer of a coordinator; Flower cuts models into chunks of 5 MB, and a bundle has up to 10.
ANSWER_MAX_BYTES = 32_000_000


def run_supernode(home: Home, number: int, port: int) -> None:
    """Run a SuperNode in this process until it is asked to end.

    Args:
        home: the site's.
        number: of the coordinator.
        port: on loopback, where `client.executor` asks for tasks.
    Raises:
        FlowerChanged: this is not the Flower that it was tested with.
        SpecificationError: ``site.toml`` names no coordinator.
    """
    settings = home.settings()
    site = keystore_address(home.keystore(settings))
    approvals = Approvals(home.approvals, site)
    gate = BundleGate(lambda: approved_codes(approvals), told)
    trust = flower_folder(home, number) / "trusted.yaml"
    gate.write_trust(trust)
    install(Fleet(gate, ANSWER_MAX_BYTES, told))
    address, root = coordinators_of(home, settings)[number]
    sys.argv = ["flower-supernode", *supernode_arguments(home, address, root, trust)]
    sys.argv += [
        "--port",
        str(port),
        "--superexec-auth-secret-file",
        str(secret_file(home, number)),
    ]
    flower_supernode()


def approved_codes(approvals: Approvals) -> frozenset[Digest]:
    """The digests of the code that the site approved; of damaged approvals, none."""
    found = set()
    for study in approvals.studies():
        try:
            found.add(approvals.of(study).code)
        except (ApprovalDamaged, StudyNotApproved) as error:
            told(str(error))
    return frozenset(found)


def supernode_arguments(home: Home, address: Address, root: Path, trust: Path) -> list[str]:
    """Arguments for a SuperNode that trusts one coordinator and one signer of code."""
    node = trust.with_name("node.toml")
    # A JSON string is a TOML string. In a file, because Flower's own form knows no quotes in paths.
    node.write_text(f"site = {json.dumps(str(home.folder.resolve()))}\n", encoding="utf-8")
    return [
        *("--superlink", str(address), "--root-certificates", str(root)),
        *("--auth-supernode-private-key", str(home.folder / NODE_KEY)),
        *("--trusted-entities", str(trust)),
        *("--host", "127.0.0.1", "--isolation", "process"),
        *("--node-config", str(node)),
    ]


def supernode_environment(home: Home, given: Mapping[str, str], number: int = 0) -> dict[str, str]:
    """The environment of a SuperNode and of the processes that train."""
    return flower_environment(_flower(home, number), given)


def flower_folder(home: Home, number: int = 0) -> Path:
    """Make Flower's own folder for one coordinator in a site's home."""
    folder = _flower(home, number)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def secret_file(home: Home, number: int = 0) -> Path:
    """Where the secret is for which a SuperNode gives tasks, so that no other user takes them."""
    return flower_folder(home, number) / "superexec.secret"


def _flower(home: Home, number: int) -> Path:
    return home.folder / (f"flower-{number}" if number else "flower")


def coordinators_of(home: Home, settings: HomeSettings) -> list[tuple[Address, Path]]:
    """Say where each coordinator is, the first one first, and which certificate vouches for it.

    Raises:
        SpecificationError: ``site.toml`` does not say.
    """
    first = coordinator_of(home, settings.coordinator)
    return [first, *(coordinator_of(home, table, "standby") for table in settings.standby)]


def coordinator_of(
    home: Home, table: CoordinatorTable | None, name: str = "coordinator"
) -> tuple[Address, Path]:
    """Say where a coordinator is, and which certificate vouches for it.

    Raises:
        SpecificationError: ``site.toml`` does not say.
    """
    source = str(home.settings_file)
    if table is None:
        reason = "this table is missing: write down the coordinator's address and certificate"
        raise SpecificationError(source, None, name, reason)
    if table.root_certificate is None:
        reason = "this key is missing: name the ca.pem that the coordinator gave you"
        raise SpecificationError(source, None, f"{name}.root_certificate", reason)
    try:
        address = Address.parse(table.address.removeprefix("https://").rstrip("/"))
    except ValueError as error:
        raise SpecificationError(source, None, f"{name}.address", str(error)) from error
    return address, home.folder / table.root_certificate


if __name__ == "__main__":
    try:
        run_supernode(Home(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]))
    except WardroundError as error:
        told(str(error))
        sys.exit(1)
