"""A folder in which auditors exchange their signatures, one file a signature.

A content store names objects by their bytes, so an auditor cannot look up in it what another one
signed. In a folder that all of them reach, it can: ``STUDY/ROUND-RECORD/AUDITOR.txt``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wardround.host.durable import write_durably
from wardround.protocol.attestation import Attestation
from wardround.protocol.contribution import Domain
from wardround.protocol.errors import SignatureInvalid

_SIGNATURE_TEXT = 132


@dataclass(frozen=True)
class SignatureFolder:
    """A folder of attestations."""

    root: Path

    def leave(self, statement: Attestation, signer: str, signature: bytes) -> None:
        """Write a signature down; the same one twice is one."""
        folder = self._folder(statement)
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / f"{signer.lower()}.txt", "0x" + signature.hex() + "\n")

    def found(self, statement: Attestation, domain: Domain) -> Iterator[tuple[str, bytes]]:
        """Every valid signature of a statement, with its signer."""
        seen = set()
        for file in sorted(self._folder(statement).glob("*.txt")):
            with file.open("rb") as opened:
                text = opened.read(_SIGNATURE_TEXT + 1)
            try:
                signature = bytes.fromhex(text.decode("ascii").strip().removeprefix("0x"))
                signer = statement.signer(domain, signature)
            except (ValueError, SignatureInvalid):
                # Any account may write here; a file without a valid signature is ignored.
                continue
            if signer not in seen:
                seen.add(signer)
                yield signer, signature

    def _folder(self, statement: Attestation) -> Path:
        name = f"{statement.round}-{statement.record.hex()}"
        return self.root / statement.study.hex() / name
