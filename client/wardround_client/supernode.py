"""``python -m wardround_client.supernode HOME NUMBER PORT``: a site's SuperNode.

There is one for each coordinator: number 0 for the first, the others for those that stand by.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from wardround.host.log import configure
from wardround.protocol.errors import SpecificationError, WardroundError
from wardround.protocol.identifiers import Digest
from wardround.transport.certificates import Address
from wardround.transport.enrolment import NODE_KEY
from wardround.transport.flower.programs import flower_environment
from wardround.transport.flower.supernode import run_supernode
from wardround_client.errors import Refusal
from wardround_client.guard.approvals import Approvals
from wardround_client.home import Home
from wardround_client.keystore import keystore_address
from wardround_client.settings import CoordinatorTable, HomeSettings

_log = logging.getLogger("wardround.supernode")

#: Variables that the courier gets. Any other may be the hospital's database's password.
_KEPT = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|LD_LIBRARY_PATH"
    r"|SSL_CERT_(FILE|DIR)|(HTTPS?|ALL|NO)_PROXY|(https?|all|no)_proxy"
    r"|PYTHON(DONTWRITEBYTECODE|PYCACHEPREFIX|UTF8)|OMP_NUM_THREADS|FLWR_LOG_LEVEL"
)


def serve(home: Home, number: int, port: int) -> None:
    """Run a SuperNode in this process until it is asked to end.

    Args:
        port: on loopback, where `wardround.transport.flower.executor` asks for tasks.
    Raises:
        TransportError: this is not the Flower that it was tested with.
        SpecificationError: ``site.toml`` names no coordinator.
    """
    settings = home.settings()
    site = keystore_address(home.keystore(settings))
    approvals = Approvals(home.approvals, site)
    folder = flower_folder(home, number)
    node = folder / "node.toml"
    # A JSON string is a TOML string. In a file, because Flower's own form knows no quotes in paths.
    node.write_text(f"site = {json.dumps(str(home.folder.resolve()))}\n", encoding="utf-8")
    address, root = coordinators_of(home, settings)[number]
    run_supernode(
        address,
        root_certificates=root,
        node_key=home.folder / NODE_KEY,
        node_config=node,
        trust=folder / "trusted.yaml",
        secret=secret_file(home, number),
        port=port,
        approved=lambda: approved_codes(approvals),
        say=configure(home.folder, "supernode").info,
    )


def approved_codes(approvals: Approvals) -> frozenset[Digest]:
    """The digests of the code that the site approved; of damaged approvals, none."""
    found = set()
    for study in approvals.studies():
        try:
            found.add(approvals.of(study).code)
        except Refusal as error:
            _log.error(error)
    return frozenset(found)


def supernode_environment(home: Home, given: Mapping[str, str], number: int = 0) -> dict[str, str]:
    """The environment of a SuperNode, and of the process that answers its tasks.

    Args:
        given: this process's environment, of which they get what they need and nothing else.
    """
    kept = {name: value for name, value in given.items() if _KEPT.fullmatch(name)}
    return flower_environment(_flower(home, number), kept)


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
    """Read the address and the root certificate of each coordinator, the first one first.

    Raises:
        SpecificationError: ``site.toml`` names none, or an address that is malformed.
    """
    first = coordinator_of(home, settings.coordinator)
    return [first, *(coordinator_of(home, table, "standby") for table in settings.standby)]


def coordinator_of(
    home: Home, table: CoordinatorTable | None, name: str = "coordinator"
) -> tuple[Address, Path]:
    """Read the address and the root certificate of one coordinator.

    Raises:
        SpecificationError: ``site.toml`` names none, or an address that is malformed.
    """
    source = str(home.settings_file)
    if table is None:
        reason = "this table is missing: write down the coordinator's address and certificate"
        raise SpecificationError(source, reason, key=name)
    if table.root_certificate is None:
        reason = "this key is missing: name the ca.pem that the coordinator gave you"
        raise SpecificationError(source, reason, key=f"{name}.root_certificate")
    try:
        address = Address.parse(table.address.removeprefix("https://").rstrip("/"))
    except ValueError as error:
        raise SpecificationError(source, str(error), key=f"{name}.address") from error
    return address, home.folder / table.root_certificate


if __name__ == "__main__":
    site = Home(Path(sys.argv[1]))
    try:
        serve(site, int(sys.argv[2]), int(sys.argv[3]))
    except WardroundError as error:
        configure(site.folder, "supernode").error(error)
        sys.exit(1)
