"""The password of a site's keystore: from a file, the environment, or whoever sits there.

WardroundError
└── PasswordMissing   there is none, and nobody to ask for it
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from wardround.protocol.errors import WardroundError

PASSWORD_VARIABLE = "WARDROUND_SITE_PASSWORD"  # noqa: S105  (the name of it)
_PASSWORD_MAX_BYTES = 1024


class PasswordMissing(WardroundError):
    """There is no password, and nobody who could type one."""

    def __init__(self, where: str, remedy: str) -> None:
        self.where = where
        self.remedy = remedy
        super().__init__(f"{where} has no password: {remedy}.")


def read_password_file(path: Path) -> str:
    """Read a password from a file's first line.

    Raises:
        PasswordMissing: no such file, empty, or too long.
    """
    where = f"file {path}"
    try:
        with path.open("rb") as file:
            data = file.read(_PASSWORD_MAX_BYTES + 1)
        text = data.decode("utf-8").splitlines()[0] if data else ""
    except (OSError, UnicodeDecodeError) as error:
        raise PasswordMissing(where, "it cannot be read as text") from error
    if not text or len(data) > _PASSWORD_MAX_BYTES:
        raise PasswordMissing(where, f"write it as the first line, {_PASSWORD_MAX_BYTES} at most")
    return text


def password_of(file: Path | None, *, confirm: bool = False) -> str:
    """Get the keystore's password: from a file, the environment, or a prompt.

    Raises:
        PasswordMissing: the file has none, or there is nobody to ask.
    """
    if file is not None:
        return read_password_file(file)
    if found := os.environ.get(PASSWORD_VARIABLE):
        return found
    if not sys.stdin.isatty():
        raise PasswordMissing(
            "this command", f"give --password-file, or the variable {PASSWORD_VARIABLE}"
        )
    return str(
        typer.prompt("Password of the keystore", hide_input=True, confirmation_prompt=confirm)
    )
