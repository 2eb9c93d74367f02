"""Secrets of noise: one for each attempt at a round, gone once the round is final.

A secret is kept until then so that a round which a crash cut short is trained again alike, which
reveals nothing new. Afterwards no one can compute the noise any more, not even a thief who has the
site's key and all its rows.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from wardround.chain.errors import ChainError, ChainUnreachable
from wardround.chain.ward_round import WardRound
from wardround.host.durable import OWNER_ONLY, sync_folder, write_durably
from wardround.learning.privacy.noise import SECRET_BYTES
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.errors import StudyMismatch
from wardround.protocol.identifiers import StudyId, bytes32, hex_of
from wardround_client.guard.book import RoundKey
from wardround_client.guard.log import unwritable

_PURPOSE = b"wardround/guard/noise/2"


class UntilFinal(Protocol):
    """What is kept of a study's rounds until they are final."""

    def studies(self) -> set[str]:
        """Name the studies of which there is any, in hexadecimal."""

    def erase(self, study: str, through: int) -> None:
        """Forget what is kept of a study's rounds up to this one."""


class NoiseSecrets(UntilFinal, Protocol):
    """Where the secret of an attempt comes from."""

    def draw(self, key: RoundKey, attempt: int) -> bytes:
        """Make the secret of a new attempt, 32 bytes; when this returns, it survives a crash.

        Raises:
            LogError: it cannot be written.
        """

    def find(self, key: RoundKey, attempt: int) -> bytes | None:
        """Give an attempt's secret again; None where it is gone."""


class KeptSecrets:
    """Random ones, in files of a folder in the home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def draw(self, key: RoundKey, attempt: int) -> bytes:
        """Draw one; one of this attempt that no line of the log names is replaced."""
        secret = secrets.token_bytes(SECRET_BYTES)
        path = self._path(key, attempt)
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            write_durably(path, secret, mode=OWNER_ONLY)
        except OSError as error:
            raise unwritable(path, error) from error
        return secret

    def find(self, key: RoundKey, attempt: int) -> bytes | None:
        """Read one."""
        try:
            secret = self._path(key, attempt).read_bytes()
        except FileNotFoundError:
            return None
        return secret if len(secret) == SECRET_BYTES else None

    def studies(self) -> set[str]:
        """Read them off the files' names."""
        return {path.name.split("-")[0] for path in self.folder.glob("0x*-*-*")}

    def erase(self, study: str, through: int) -> None:
        """Overwrite and remove files, durably.

        A disk that writes elsewhere than where it read, such as an SSD, may keep old bytes.
        """
        erased = False
        for path in self.folder.glob(f"{study}-*-*"):
            if int(path.name.split("-")[1]) > through:
                continue
            # The guard and a command of its administrator may erase the same one.
            with suppress(FileNotFoundError):
                with path.open("r+b") as file:
                    file.write(bytes(SECRET_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
                path.unlink()
                erased = True
        if erased:
            sync_folder(self.folder)

    def _path(self, key: RoundKey, attempt: int) -> Path:
        return self.folder / f"{hex_of(key.study)}-{key.round}-{attempt}"


class DerivedSecrets:
    """A simulation's: always the same ones, so that it repeats. They protect nothing."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def draw(self, key: RoundKey, attempt: int) -> bytes:
        """Derive one from round and base model.

        Neither from the study's id, so that a simulation repeats with new keys, nor from the
        attempt, so that it repeats whatever was interrupted.
        """
        parts = canonical_bytes([key.round, hex_of(key.base)])
        return hmac.digest(self._secret, _PURPOSE + parts, hashlib.sha256)

    def find(self, key: RoundKey, attempt: int) -> bytes | None:
        """Derive it again."""
        return self.draw(key, attempt)

    def studies(self) -> set[str]:
        """Name none: nothing is kept."""
        return set()

    def erase(self, study: str, through: int) -> None:
        """Leave it: there is nothing to erase."""


def erase_final(those: UntilFinal, ward: WardRound) -> dict[str, str]:
    """Erase what is kept of rounds that are final.

    Returns:
        Why that of a study stays, given its id in hexadecimal: nothing of it is known to be final,
        such as where the site had another contract before.
    Raises:
        ChainUnreachable: the chain does not answer.
    """
    kept = {}
    for study in sorted(those.studies()):
        try:
            final = ward.final_closings(StudyId(bytes32(study, "study")))
        except ChainUnreachable:
            raise
        except (ChainError, StudyMismatch) as error:
            kept[study] = str(error)
        else:
            those.erase(study, max((number for number, _ in final), default=0))
    return kept
