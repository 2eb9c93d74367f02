from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround_client.errors import KeystoreError
from wardround_client.keystore import (
    keystore_address,
    open_keystore,
    write_keystore,
)
from wardround_client.password import PASSWORD_VARIABLE, password_of, read_password_file

KEY = b"\x31" * 32
PASSWORD = "correct horse"


def made(folder: Path) -> Path:
    path = folder / "keystore.json"
    write_keystore(path, KEY, PASSWORD, iterations=2)
    return path


def changed(path: Path, change: Any) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_keystore_when_opened_gives_the_key(tmp_path: Path) -> None:
    path = made(tmp_path)
    assert open_keystore(path, PASSWORD) == KEY
    assert keystore_address(path) == Account.from_key(KEY).address
    assert path.stat().st_mode & 0o777 == 0o600
    assert KEY.hex() not in path.read_text()


def test_keystore_when_another_program_made_it_opens(tmp_path: Path) -> None:
    """The scrypt example of the Web3 Secret Storage Definition."""
    path = tmp_path / "keystore.json"
    text = {
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
            "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": 32,
                "n": 262144,
                "p": 8,
                "r": 1,
                "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19",
            },
            "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
        },
        "address": "008aeeda4d805471df9b2a5b0f38a0c3bcba786b",
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
        "version": 3,
    }
    path.write_text(json.dumps(text))
    key = open_keystore(path, "testpassword")
    assert key.hex() == "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"


def test_keystore_when_the_password_is_wrong_says_so(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="does not open with this password") as wrong:
        open_keystore(made(tmp_path), "battery staple")
    assert "battery" not in str(wrong.value)


def test_keystore_when_missing_says_so(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="is missing"):
        open_keystore(tmp_path / "keystore.json", PASSWORD)


def test_keystore_when_there_is_one_is_never_overwritten(tmp_path: Path) -> None:
    path = made(tmp_path)
    with pytest.raises(KeystoreError, match="is there already"):
        write_keystore(path, b"\x32" * 32, PASSWORD, iterations=2)
    assert open_keystore(path, PASSWORD) == KEY


def test_password_when_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="has no password"):
        write_keystore(tmp_path / "keystore.json", KEY, "", iterations=2)
    assert list(tmp_path.iterdir()) == []


def params(**values: Any) -> Any:
    return lambda value: value["crypto"]["kdfparams"].update(values)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(version=4),
        lambda value: value.pop("address"),
        lambda value: value.update(address="0x00"),
        lambda value: value.update(address="00" * 20),
        lambda value: value["crypto"].update(cipher="aes-256-gcm"),
        lambda value: value["crypto"].update(ciphertext="00"),
        lambda value: value["crypto"].update(mac=7),
        lambda value: value["crypto"].pop("kdfparams"),
        params(n=2**40),
        params(r=2**30),
        params(p=2**30),
        params(n=0),
        params(salt="zz"),
        params(dklen=1),
    ],
)  # fmt: skip
def test_keystore_when_damaged_says_so(tmp_path: Path, change: Any) -> None:
    path = made(tmp_path)
    changed(path, change)
    with pytest.raises(KeystoreError, match="is damaged"):
        open_keystore(path, PASSWORD)


def test_keystore_when_its_work_is_no_power_of_two_is_an_error_by_name(tmp_path: Path) -> None:
    path = made(tmp_path)
    changed(path, params(n=3))
    with pytest.raises(KeystoreError):
        open_keystore(path, PASSWORD)


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 10_000, b"\xff\xfe", b"null", b" " * 20_000])
def test_keystore_when_it_is_none_says_so(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "keystore.json"
    path.write_bytes(data)
    for read in (keystore_address, lambda one: open_keystore(one, PASSWORD)):
        with pytest.raises(KeystoreError, match="is damaged"):
            read(path)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 500))
def test_keystore_when_bytes_are_changed_opens_with_its_key_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int
) -> None:
    path = made(tmp_path_factory.mktemp("keystore"))
    good = path.read_bytes()
    path.write_bytes(good[:at] + data + good[at + len(data) :])
    with suppress(KeystoreError):
        assert open_keystore(path, PASSWORD) == KEY


def test_password_file_when_read_is_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("correct horse\nmore\n")
    assert read_password_file(path) == "correct horse"


@pytest.mark.parametrize(
    "typed",
    ["a\u2028b", "a\x0cb", "a\x85b", "a\rb", "\ufeffab", "\ufeff\ufeffab", "ab\r\r", " a b "],
)
def test_password_when_typed_is_the_same_once_the_guard_has_read_it(
    typed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: typed)
    password = password_of(None)
    line = tmp_path / "line"
    line.write_bytes(f"{password}\n".encode())  # as `site run` hands it over
    assert read_password_file(line) == password
    assert password == typed.strip("\ufeff\r")


@pytest.mark.parametrize("data", [None, b"", b"\n", b"\xff\xfe", b"x" * 2000])
def test_password_file_when_it_has_none_says_so(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "password"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(KeystoreError, match=r"has no password|is not UTF-8|cannot be read"):
        read_password_file(path)
