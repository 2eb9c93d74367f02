"""Options and arguments that the commands of a site have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from wardround_client.password import CREDENTIAL

#: Where a site's home is unless a command names another folder.
HOME = Path("site")

HomeArgument = Annotated[Path, typer.Argument(help="The site's home folder.", show_default=True)]
StudyArgument = Annotated[str, typer.Argument(help="The study's id, 0x and 64 digits.")]
StoreOption = Annotated[str | None, typer.Option(help="Content store of the study.")]
PasswordOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        help="First line is the keystore's password; - is standard input. By default systemd's "
        f"credential {CREDENTIAL}, or a prompt.",
        dir_okay=False,
        allow_dash=True,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


@dataclass(frozen=True, kw_only=True)
class Paying:
    """A study that a site takes part in, and the key that pays for what the site sends."""

    study: StudyArgument
    folder: HomeArgument = HOME
    key: Annotated[
        Path | None,
        typer.Option("--key", help="File with a key that pays for gas; by default the site's own."),
    ] = None
    password_file: PasswordOption = None

    def __post_init__(self) -> None:
        """Check that one key is named.

        Raises:
            typer.BadParameter: another key, and the password of the site's own.
        """
        if self.key is not None and self.password_file is not None:
            reason = "--password-file opens the site's own key: leave it or --key out"
            raise typer.BadParameter(reason)
