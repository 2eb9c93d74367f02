import socket

import pytest

from wardround.learning.datasets.download import fetch, sha256_hex
from wardround.learning.errors import DataError

DATA = bytes(range(256)) * 40


def get(url, data=DATA, timeout_seconds=5.0):
    return fetch(
        url,
        sha256_hex(data),
        expected_bytes=len(data),
        timeout_seconds=timeout_seconds,
    )


def test_fetch_gives_the_bytes(https_server):
    server = https_server({"a": DATA})
    assert get(server.url + "a") == DATA


def test_fetch_when_the_file_is_longer_stops_reading(https_server):
    server = https_server({"a": DATA + b"x" * 1_000_000})
    # One byte more shows that it is another file.
    with pytest.raises(DataError, match=sha256_hex(DATA + b"x")):
        get(server.url + "a")


def test_fetch_when_the_file_is_cut_off_is_refused(https_server):
    server = https_server({"a": DATA[:-1]})
    with pytest.raises(DataError, match=sha256_hex(DATA)):
        get(server.url + "a")


def test_fetch_when_absent_says_404_and_how_to_go_on(https_server):
    server = https_server({})
    with pytest.raises(DataError, match=r"answered 404.*--data-dir or WARDROUND_DATA_DIR"):
        get(server.url + "a")


def test_fetch_when_slow_ends_in_time(https_server):
    server = https_server({"a": DATA}, pause_seconds=0.1)
    with pytest.raises(DataError, match=r"not done after 0.3 seconds"):
        get(server.url + "a", timeout_seconds=0.3)


def test_fetch_when_silent_ends_in_time(https_server):
    server = https_server({"a": DATA}, pause_seconds=0.8)
    with pytest.raises(DataError, match="timed out"):
        get(server.url + "a", timeout_seconds=0.3)


def test_fetch_when_nobody_listens_is_retryable():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(DataError, match="refused"):
        get(f"https://127.0.0.1:{port}/a")


def test_fetch_when_the_certificate_is_not_trusted_fails(https_server, monkeypatch):
    server = https_server({"a": DATA})
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(DataError, match="CERTIFICATE"):
        get(server.url + "a")


@pytest.mark.parametrize("url", ["http://127.0.0.1/a", "file:///etc/hostname", "ftp://x/a"])
def test_fetch_when_not_https_is_refused(url):
    with pytest.raises(DataError, match="only https"):
        get(url)
