"""Which studies a site takes part in: one file a study, signed by the site's own key.

The process that trains runs as the same user and could write such a file, but not sign it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from eth_utils import keccak
from pydantic import Field, ValidationError

from wardround.host.durable import OWNER_ONLY, move, write_durably
from wardround.host.study_file import read_files
from wardround.protocol.canonical import canonical_bytes, parse_canonical
from wardround.protocol.contribution import recover_signer, sign_digest
from wardround.protocol.documents import Form
from wardround.protocol.errors import ProtocolError, StudyMismatch
from wardround.protocol.identifiers import Digest, SiteAddress, StudyId, bytes32, hex_of
from wardround.protocol.record import StudyParams, StudyParties
from wardround.protocol.report import Address, Hex32
from wardround.protocol.study import PrivacySpec, StudySpec, parse_specification
from wardround_client.errors import Refusal

APPROVAL_MAX_BYTES = 1 << 21
#: Nothing that a site signs for the contract begins so.
_PURPOSE = b"wardround site approval 1\n"

_SIGNATURE = re.compile(rb'"signature":"0x[0-9a-f]*"')

_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Bytes = Annotated[str, Field(pattern=r"^0x([0-9a-f]{2})*$", max_length=4096)]


class _Statement(Form):
    """What a site approved, as it is written down."""

    format: Literal["wardround-approval/3"]
    study: Hex32
    chain_id: Annotated[int, Field(ge=1, lt=2**53)]
    contract: Address
    specification_digest: Hex32
    code: Hex32
    privacy: PrivacySpec | None
    at: _Count
    rows: _Count
    people: _Count | None
    site: Address
    params: _Bytes
    coordinators: list[Address]
    auditors: list[Address]
    specification: dict[str, Any]


class _Signed(Form):
    statement: _Statement
    signature: _Bytes


@dataclass(frozen=True)
class Approval:
    """A study that the site takes part in.

    Attributes:
        chain_id: and contract: where the study is.
        params: hashed into the study's id.
        parties: coordinators and auditors, hashed into ``params.parties``.
        spec: hashed into ``params.specification``.
        at: when, seconds since 1970.
        rows: training rows that the table had then.
        people: whose they were; None where no column names them.
    """

    chain_id: int
    contract: str
    params: StudyParams
    parties: StudyParties
    spec: StudySpec
    at: int
    rows: int
    people: int | None

    @cached_property
    def study(self) -> StudyId:
        """The study's id."""
        return self.params.study_id

    @property
    def code(self) -> Digest:
        """Digest of the application that may run."""
        return self.params.code

    def document(self, site: SiteAddress) -> dict[str, Any]:
        """What is signed and written down."""
        privacy = self.spec.privacy
        return {
            "format": "wardround-approval/3",
            "study": hex_of(self.study),
            "chain_id": self.chain_id,
            "contract": self.contract.lower(),
            "specification_digest": hex_of(self.spec.digest),
            "code": hex_of(self.code),
            "privacy": None if privacy is None else privacy.model_dump(mode="json"),
            "at": self.at,
            "rows": self.rows,
            "people": self.people,
            "site": site.lower(),
            "params": hex_of(self.params.encode()),
            "coordinators": [one.lower() for one in self.parties.coordinators],
            "auditors": [one.lower() for one in self.parties.auditors],
            "specification": self.spec.document(),
        }


class Approvals:
    """The folder of a site's approvals."""

    def __init__(self, folder: Path, site: SiteAddress) -> None:
        self.folder, self.site = folder, site
        self._read: dict[StudyId, tuple[tuple[int, int, int], Approval]] = {}

    def give(self, approval: Approval, key: bytes) -> Path:
        """Write an approval down, signed; when this returns, it survives a crash."""
        document = approval.document(self.site)
        signature = sign_digest(_digest(document), key)
        data = canonical_bytes({"statement": document, "signature": hex_of(signature)})
        path = self._path(approval.study)
        if approval.spec.files:
            self.files_of(approval.study).mkdir(mode=0o700, exist_ok=True)
        for name, content in approval.spec.files.items():
            write_durably(self.files_of(approval.study) / name, content, mode=OWNER_ONLY)
        write_durably(path, data, mode=OWNER_ONLY)
        return path

    def files_of(self, study: StudyId) -> Path:
        """Folder with the own files of an approved study, as they were shown."""
        return self.folder / f"{hex_of(study)}.files"

    def revoke(self, study: StudyId, now: int) -> Path:
        """Take an approval back; it stays under another name, without its signature.

        Raises:
            Refusal: ``study-not-approved``.
        """
        path = self._path(study)
        kept = path.with_name(f"{path.name}.revoked-{now}")
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise not_approved(study) from None
        # The file's old name makes it an approval again only with a signature.
        write_durably(path, _SIGNATURE.sub(b'"signature":"0x"', data), mode=OWNER_ONLY)
        move(path, kept)
        return kept

    def of(self, study: StudyId) -> Approval:
        """Read the approval of a study.

        Raises:
            Refusal: ``study-not-approved``, or ``approval-damaged`` where it was altered or another
                key signed it, or the study's own files beside it were altered.
        """
        path = self._path(study)
        try:
            found = path.stat()
        except FileNotFoundError:
            raise not_approved(study) from None
        state = (found.st_mtime_ns, found.st_size, found.st_ino)
        known = self._read.get(study)
        if known is None or known[0] != state:
            known = (state, self._parse(path, study))
            self._read[study] = known
        return known[1]

    def studies(self) -> list[StudyId]:
        """Name every study with an approval, good or damaged."""
        if not self.folder.is_dir():
            return []
        names = sorted(path.stem for path in self.folder.glob("0x*.json"))
        return [StudyId(bytes32(name, "approval")) for name in names if len(name) == 66]

    def _path(self, study: StudyId) -> Path:
        return self.folder / f"{hex_of(study)}.json"

    def _parse(self, path: Path, study: StudyId) -> Approval:
        with path.open("rb") as file:
            data = file.read(APPROVAL_MAX_BYTES + 1)
        if len(data) > APPROVAL_MAX_BYTES:
            raise _damaged(path, f"it is longer than {APPROVAL_MAX_BYTES} bytes")
        try:
            value = parse_canonical(data, "approval")
            signed = _Signed.model_validate(value)
            statement = signed.statement
            # The signature first: what it covers may then be believed.
            signature = bytes.fromhex(signed.signature[2:])
            signer = recover_signer(_digest(value["statement"]), signature, statement.site)
            if signer != self.site:
                raise _damaged(path, "another key signed it")
            params = StudyParams.decode(bytes.fromhex(statement.params[2:]))
            parties = StudyParties.of(statement.coordinators, statement.auditors)
            spec = parse_specification(canonical_bytes(statement.specification))
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"]))
            raise _damaged(path, f"{place or 'the whole'} is wrong") from None
        except ProtocolError as error:
            raise _damaged(path, str(error)) from None
        named = (params.study_id, params.specification, params.parties)
        if named != (study, spec.digest, parties.digest):
            raise _damaged(path, "it is of another study")
        try:
            spec = spec.with_files(read_files(self.files_of(study), spec.model.files))
        except (OSError, StudyMismatch) as error:
            raise _damaged(path, f"the study's own files beside it: {error}") from None
        return Approval(
            statement.chain_id,
            statement.contract,
            params,
            parties,
            spec,
            statement.at,
            statement.rows,
            statement.people,
        )


def not_approved(study: bytes) -> Refusal:
    """Refuse a study that the site has not approved."""
    return Refusal(
        "study-not-approved",
        f"study {hex_of(study)} is not approved here: look at it with `wardround site approve`.",
    )


def _damaged(path: Path, reason: str) -> Refusal:
    return Refusal(
        "approval-damaged",
        f"approval {path} is not one that this site gave ({reason}): "
        "remove it and approve the study again.",
    )


def _digest(document: dict[str, Any]) -> bytes:
    return keccak(_PURPOSE + canonical_bytes(document))
