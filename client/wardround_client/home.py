"""A hospital's home folder: settings, keystore, approvals, the guard's socket and its log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from eth_account import Account

from wardround.host.durable import write_private
from wardround.host.inside import Inside
from wardround.protocol.identifiers import SiteAddress
from wardround_client.errors import KeystoreError, home_unusable
from wardround_client.guard.log import create_log
from wardround_client.keystore import SCRYPT_ITERATIONS, write_keystore
from wardround_client.settings import (
    SITE_FILE,
    HomeSettings,
    load_home_settings,
    parse_home_settings,
)


@dataclass(frozen=True)
class Home:
    """Where everything of a site is."""

    folder: Path

    #: What the administrator writes down.
    settings_file = Inside(SITE_FILE)
    #: Where the guard listens.
    socket = Inside("guard.sock")
    #: What left, and what was refused.
    log = Inside("guard.log")
    #: Which studies the site takes part in.
    approvals = Inside("approvals")
    #: The last answer to each study, to be given again.
    answers = Inside("answers")

    def settings(self) -> HomeSettings:
        """Read ``site.toml``.

        Raises:
            SpecificationError: there is none, or it cannot be used.
        """
        if not self.settings_file.is_file():
            raise home_unusable(self.folder, "it has no site.toml: make one with `site init`")
        return load_home_settings(self.folder)

    def keystore(self, settings: HomeSettings) -> Path:
        """Where the key is."""
        return self.folder / settings.site.keystore


def make_home(
    folder: Path,
    settings: str,
    password: str,
    now: int,
    *,
    key: bytes | None = None,
    iterations: int = SCRYPT_ITERATIONS,
) -> SiteAddress:
    """Make a site's home with a new key.

    Args:
        folder: new or empty.
        settings: text of ``site.toml``.
        password: of the keystore.
        now: seconds since 1970.
        key: instead of a new one, 32 bytes.
        iterations: of the keystore's scrypt.
    Returns:
        The site's address.
    Raises:
        SpecificationError: something is in the folder already, or the settings cannot be used.
        KeystoreError: the password is empty.
    """
    if not password:
        raise KeystoreError("the keystore has no password: give one that is not empty.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise home_unusable(folder, "it is not an empty folder: name another one")
    parse_home_settings(settings, folder / SITE_FILE)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    home = Home(folder)
    address = write_keystore(
        folder / "keystore.json",
        Account.create().key if key is None else key,
        password,
        iterations=iterations,
    )
    write_private(home.settings_file, settings)
    home.approvals.mkdir(mode=0o700)
    create_log(home.log, now, site=address.lower())
    return address
