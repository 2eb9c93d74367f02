"""The password of a site's keystore: from a file, a pipe, systemd's credential, or a prompt.

Never from the environment or from arguments, which Linux shows to every process of the user.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

from wardround_client.errors import KeystoreError

#: Refused, where it is set.
PASSWORD_VARIABLE = "WARDROUND_SITE_PASSWORD"  # noqa: S105  (the name of it)
#: As a file, standard input.
PIPE = Path("-")
#: Name of the credential that a systemd unit loads, and the variable that names its folder.
CREDENTIAL, _CREDENTIALS_VARIABLE = "wardround-password", "CREDENTIALS_DIRECTORY"
_PASSWORD_MAX_BYTES = 1024


def read_password_file(path: Path) -> str:
    """Read a password from a file's first line.

    Raises:
        KeystoreError: no such file, empty, or too long.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_PASSWORD_MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise KeystoreError(f"password file {path} cannot be read ({reason}).") from error
    return _first_line(data, f"password file {path}")


def _first_line(data: bytes, source: str) -> str:
    try:
        # Windows' editors begin a file with a mark of its encoding, and end a line with \r\n. What
        # is left passes through here unchanged: `site run` hands it to the guard as a line.
        text = data.decode().split("\n", 1)[0].rstrip("\r").lstrip("\ufeff")
    except UnicodeDecodeError as error:
        raise KeystoreError(f"{source} is not UTF-8 text.") from error
    if not text or len(data) > _PASSWORD_MAX_BYTES:
        raise KeystoreError(
            f"{source} has no password: write it as the first line, of {_PASSWORD_MAX_BYTES} "
            "bytes at most."
        )
    return text


def password_of(file: Path | None, *, confirm: bool = False) -> str:
    """Get the keystore's password: from a file, a pipe, systemd's credential, or a prompt.

    Args:
        file: its first line; ``-`` is standard input.
        confirm: let a person type it twice.
    Raises:
        KeystoreError: the file has none, there is no terminal to ask at, or it is in the
            environment.
    """
    if os.environ.get(PASSWORD_VARIABLE):
        raise KeystoreError(
            f"the variable {PASSWORD_VARIABLE} is set, and every process of this user can read a "
            "process's environment: unset it, and give the password by --password-file FILE, or "
            "through a pipe by --password-file -."
        )
    if file == PIPE:
        return _first_line(sys.stdin.buffer.readline(_PASSWORD_MAX_BYTES + 1), "standard input")
    if file is not None:
        return read_password_file(file)
    credentials = os.environ.get(_CREDENTIALS_VARIABLE)
    if credentials and (kept := Path(credentials) / CREDENTIAL).is_file():
        return read_password_file(kept)
    if not sys.stdin.isatty():
        raise KeystoreError(
            "this command has no password: give --password-file FILE, or --password-file - and a "
            f"pipe, or under systemd LoadCredential={CREDENTIAL}:FILE."
        )
    typed: str = typer.prompt(
        "Password of the keystore", hide_input=True, confirmation_prompt=confirm
    )
    return _first_line(typed.encode(errors="surrogateescape"), "what was typed")
