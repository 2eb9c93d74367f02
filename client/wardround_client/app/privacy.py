"""What a site keeps for private training: the secret of its noise, and what it has spent.

The account is written before anything computed under it leaves, so a crash can only make it too
high. One account serves one study; a budget over all studies on the same rows is for whoever holds
the site's key.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wardround.host.durable import write_durably
from wardround.learning.privacy.accountant import PrivacyAccount, parse_account
from wardround.learning.privacy.noise import NoiseSecret
from wardround.protocol.errors import Malformed

ACCOUNT_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class PrivacyBook:
    """A site's secret and account, in two files of its folder that only it can read."""

    secret_file: Path
    account_file: Path

    def secret(self) -> NoiseSecret:
        """Read the secret.

        Raises:
            Malformed: the file is missing, or not 32 bytes of hexadecimal.
        """
        try:
            return NoiseSecret(bytes.fromhex(self.secret_file.read_text(encoding="ascii").strip()))
        except (OSError, ValueError) as error:
            raise Malformed(f"noise secret {self.secret_file}", "expected 64 hex digits") from error

    def account(self) -> PrivacyAccount:
        """Read what was spent; nothing when no file is there yet.

        Raises:
            Malformed: the file is too long; it was altered.
        """
        if not self.account_file.exists():
            return PrivacyAccount()
        data = self.account_file.read_bytes()
        if len(data) > ACCOUNT_MAX_BYTES:
            raise Malformed("privacy account", f"{len(data)} bytes exceed {ACCOUNT_MAX_BYTES}")
        return parse_account(data)

    def keep(self, account: PrivacyAccount) -> None:
        """Write what was spent; when this returns, it survives a crash."""
        write_durably(self.account_file, account.encode())
