"""A hospital's home folder: settings, keystore, approvals, the guard's socket and its log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes

from wardround.host.durable import write_private
from wardround.host.inside import Inside
from wardround.protocol.identifiers import SiteAddress
from wardround_client.errors import KeystoreError, home_unusable
from wardround_client.guard.log import create_log
from wardround_client.guard.policy import approve_policy, approved_policy
from wardround_client.keystore import SCRYPT_ITERATIONS, write_keystore
from wardround_client.settings import (
    SITE_FILE,
    HomeSettings,
    PreparedTables,
    load_home_settings,
    parse_home_settings,
)

SECRET_BYTES = 32
#: Another one is as good for further rounds; only the open one could not be trained again alike.
_RESTORE = "restore it, or write 64 random hexadecimal digits into it"


@dataclass(frozen=True)
class Home:
    """Where everything of a site is."""

    folder: Path

    #: What the administrator writes down.
    settings_file = Inside(SITE_FILE)
    #: Where the guard listens.
    socket = Inside("guard.sock")
    #: What the order of rows in training is drawn from.
    secret = Inside("training.secret")
    #: Secrets of noise in private rounds that are not final.
    noise = Inside("noise")
    #: Who was trained on, as far as a column names people.
    people = Inside("people")
    #: What left, and what was refused.
    log = Inside("guard.log")
    #: ``[policy]`` and ``[data] group`` as they were approved with the key.
    policy = Inside("policy.json")
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

    def settings_in_force(self, site: SiteAddress) -> HomeSettings:
        """Read ``site.toml``, with the approved terms in place of those in the file.

        Raises:
            SpecificationError: the file or the approved terms cannot be used.
        """
        return self.settings().under(approved_policy(self.policy, site))

    def read_secret(self) -> bytes:
        """Read what training is drawn from, 32 bytes.

        Raises:
            SpecificationError: it is missing or damaged.
        """
        try:
            secret = bytes.fromhex(self.secret.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not hexadecimal"
            raise home_unusable(self.folder, f"{self.secret.name}: {reason}: {_RESTORE}") from None
        if len(secret) != SECRET_BYTES:
            wrong = f"{self.secret.name} has {len(secret)} bytes, not {SECRET_BYTES}: {_RESTORE}"
            raise home_unusable(self.folder, wrong)
        return secret

    def keystore(self, settings: HomeSettings) -> Path:
        """Where the key is."""
        return self.folder / settings.site.keystore

    def private_paths(self) -> list[Path]:
        """The folder, what is in it, and the key and tables that ``site.toml`` names elsewhere.

        Raises:
            SpecificationError: ``site.toml`` cannot be used.
        """
        paths = [self.folder, *self.folder.iterdir()]  # a link in it leads elsewhere
        if self.settings_file.is_file():
            settings = self.settings()
            data = settings.data
            tables = data.paths if isinstance(data, PreparedTables) else data.source.paths
            paths += [self.keystore(settings), *(self.folder / one for one in tables)]
        return paths


def make_home(
    folder: Path,
    settings: str,
    password: str,
    now: int,
    *,
    key: bytes | None = None,
    secret: bytes | None = None,
    iterations: int = SCRYPT_ITERATIONS,
) -> SiteAddress:
    """Make a site's home with a new key.

    Args:
        folder: new or empty.
        settings: text of ``site.toml``.
        password: of the keystore.
        now: seconds since 1970.
        key: instead of a new one, 32 bytes.
        secret: that training is drawn from, instead of a new one, 32 bytes; a simulation's.
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
    terms = parse_home_settings(settings, folder / SITE_FILE).terms
    # Here, because programs that never see a key import this too, and this one takes a second.
    from eth_account import Account

    key = bytes(Account.create().key) if key is None else key
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    home = Home(folder)
    address = write_keystore(folder / "keystore.json", key, password, iterations=iterations)
    approve_policy(home.policy, terms, address, key)
    write_private(home.settings_file, settings)
    write_private(home.secret, (secret or token_bytes(SECRET_BYTES)).hex() + "\n")
    home.approvals.mkdir(mode=0o700)
    create_log(home.log, now, site=address.lower())
    return address
