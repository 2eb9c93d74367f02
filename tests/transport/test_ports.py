"""Which ports are chosen for services, and the errors about those that are taken."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from wardround.transport import ports
from wardround.transport.errors import PeerAway, TransportError
from wardround.transport.ports import check_free, free_port


def test_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TransportError, match=f"port {port} of 127.0.0.1 is in use"):
            check_free("127.0.0.1", port)
    check_free("127.0.0.1", port)
    with pytest.raises(PeerAway):
        check_free("192.0.2.1", port)
    with pytest.raises(PeerAway):
        free_port("192.0.2.1")


def lend_from(first: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lent = folder / "range"
    lent.write_text(f"{first}\t60999\n", "ascii")
    monkeypatch.setattr(ports, "_LENT", lent)


def test_chosen_port_is_never_lent_to_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a stranger's outgoing connection holds it while its service restarts."""
    lend_from(30_000, tmp_path, monkeypatch)
    chosen = {free_port() for _ in range(200)}
    assert all(20_000 <= port < 30_000 for port in chosen)
    assert len(chosen) > 150  # two programs that choose at once seldom choose the same


def test_port_that_is_taken_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lend_from(21_000, tmp_path, monkeypatch)
    takers = []
    try:
        for _ in range(60):  # of 1000: by chance alone, none of 60 choices is one of these at 2 %
            takers.append(socket.create_server(("127.0.0.1", free_port())))
        taken = {taker.getsockname()[1] for taker in takers}
        assert len(taken) == 60
        assert taken.isdisjoint({free_port() for _ in range(60)})
    finally:
        for taker in takers:
            taker.close()


@pytest.mark.parametrize("lent", ["1024\t65535\n", "", "nonsense"])
def test_where_nearly_every_port_is_lent_or_nobody_says_a_port_is_found(
    lent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "range"
    file.write_text(lent, "ascii")
    monkeypatch.setattr(ports, "_LENT", file)
    check_free("127.0.0.1", free_port())
    monkeypatch.setattr(ports, "_LENT", tmp_path / "missing")
    check_free("127.0.0.1", free_port())
