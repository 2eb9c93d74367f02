"""A folder in which auditors exchange their signatures, one file a signature.

A content store names objects by their bytes, so an auditor cannot look up in it what another one
signed. In a folder that all of them reach, it can: ``STUDY/ROUND-RECORD/AUDITOR.txt``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wardround.host.durable import write_durably
from wardround.protocol.attestation import Attestation
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import address_of

#: Of hexadecimal digits: a Safe of a hundred owners needs 13,000.
_TEXT_LIMIT = 1 << 16


@dataclass(frozen=True)
class SignatureFolder:
    """A folder of attestations."""

    root: Path

    def leave(self, statement: Attestation, auditor: str, signature: bytes) -> None:
        """Write a signature down; the same one twice is one."""
        folder = self._folder(statement)
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / f"{auditor.lower()}.txt", "0x" + signature.hex() + "\n")

    def found(
        self, statement: Attestation, is_valid: Callable[[str, bytes], bool]
    ) -> Iterator[tuple[str, bytes]]:
        """Every valid signature of a statement, with its auditor.

        Args:
            statement: what was signed.
            is_valid: whether an auditor counts, and has signed so.
        """
        for file in sorted(self._folder(statement).glob("*.txt")):
            # Any account may write here; what is no file with a valid signature is ignored.
            if not file.is_file():
                continue
            with suppress(OSError, ValueError, Malformed):
                with file.open("rb") as opened:
                    text = opened.read(_TEXT_LIMIT)
                auditor = address_of(file.stem)
                signature = bytes.fromhex(text.decode("ascii").strip().removeprefix("0x"))
                if is_valid(auditor, signature):
                    yield auditor, signature

    def _folder(self, statement: Attestation) -> Path:
        name = f"{statement.round}-{statement.record.hex()}"
        return self.root / statement.study.hex() / name
