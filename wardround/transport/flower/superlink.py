"""``python -m wardround.transport.flower.superlink``: Flower's SuperLink."""

from __future__ import annotations

from pathlib import Path

from flwr.superlink.cli.flower_superlink import flower_superlink

from wardround.transport.flower.apis import shorten
from wardround.transport.flower.intake import guard_intake
from wardround.transport.flower.programs import quiet_requests
from wardround.transport.flower.waiting import hold_superlink


def superlink_arguments(
    port: int, *, authority: Path, certificate: Path, certificate_key: Path
) -> list[str]:
    """Arguments for a SuperLink on the loopback interface only, with TLS and node keys.

    TLS on loopback too, because Flower checks node keys only with it.
    """
    return [
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--ssl-ca-certfile", str(authority)),
        *("--ssl-certfile", str(certificate)),
        *("--ssl-keyfile", str(certificate_key)),
        "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",
    ]


if __name__ == "__main__":
    quiet_requests()
    guard_intake()
    hold_superlink()
    shorten()
    flower_superlink()
