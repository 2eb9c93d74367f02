"""``python -m coordinator.superlink``: Flower's SuperLink, which ends with whoever started it."""

from __future__ import annotations

from collections.abc import Mapping

from flwr.superlink.cli.flower_superlink import flower_superlink

from coordinator.home import CoordinatorHome
from coordinator.settings import HOME_VARIABLE, STANDBY_VARIABLE
from transport.flower import flower_environment


def superlink_arguments(home: CoordinatorHome, port: int) -> list[str]:
    """Arguments for a SuperLink on the loopback interface only, with TLS and node keys.

    TLS on loopback too, because Flower checks node keys only with it.
    """
    return [
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--ssl-ca-certfile", str(home.authority)),
        *("--ssl-certfile", str(home.certificate)),
        *("--ssl-keyfile", str(home.certificate_key)),
        "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",
    ]


def superlink_environment(
    home: CoordinatorHome, given: Mapping[str, str], *, standby: bool = False
) -> dict[str, str]:
    """The environment of a SuperLink, and of the ServerApp that it starts."""
    own = {HOME_VARIABLE: str(home.root.resolve()), STANDBY_VARIABLE: "1" if standby else ""}
    return {**flower_environment(home.flower, given), **own}


if __name__ == "__main__":
    flower_superlink()
