"""The password of a site's keystore: from a file, the environment, or a prompt."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from wardround_client.errors import KeystoreError

PASSWORD_VARIABLE = "WARDROUND_SITE_PASSWORD"  # noqa: S105  (the name of it)
_PASSWORD_MAX_BYTES = 1024


def read_password_file(path: Path) -> str:
    """Read a password from a file's first line, without the mark that Windows' editors write.

    Raises:
        KeystoreError: no such file, empty, or too long.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_PASSWORD_MAX_BYTES + 1)
        text = next(iter(data.decode("utf-8-sig").splitlines()), "")
    except UnicodeDecodeError as error:
        raise KeystoreError(f"password file {path} is not UTF-8 text.") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise KeystoreError(f"password file {path} cannot be read ({reason}).") from error
    if not text or len(data) > _PASSWORD_MAX_BYTES:
        raise KeystoreError(
            f"file {path} has no password: write it as the first line, of {_PASSWORD_MAX_BYTES} "
            "bytes at most."
        )
    return text


def password_of(file: Path | None, *, confirm: bool = False) -> str:
    """Get the keystore's password: from a file, the environment, or a prompt.

    Raises:
        KeystoreError: the file has none, or there is no terminal to ask at.
    """
    if file is not None:
        return read_password_file(file)
    if found := os.environ.get(PASSWORD_VARIABLE):
        return found
    if not sys.stdin.isatty():
        raise KeystoreError(
            "this command has no password: give --password-file, or the variable "
            f"{PASSWORD_VARIABLE}."
        )
    return str(
        typer.prompt("Password of the keystore", hide_input=True, confirmation_prompt=confirm)
    )
