"""What an audit found, signed by its auditor, for those who rely on it and do not audit again.

A file in RFC 8785 form: the result, the auditor's address and its signature over EIP-712 typed data
in the domain of the contract. docs/protocol.md has every field.

Source:
    EIP-712 (typed structured data).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

from eth_account.signers.local import LocalAccount
from eth_utils import keccak
from pydantic import Field

from wardround.chain.study_state import ClosedOnChain
from wardround.protocol.canonical import canonical_bytes, sha256_digest
from wardround.protocol.contribution import Domain, recover_signer, sign_digest
from wardround.protocol.documents import Form, parse_document
from wardround.protocol.errors import (
    Malformed,
    SignatureInvalid,
    SpecificationError,
    StudyMismatch,
)
from wardround.protocol.facts import StudyFacts
from wardround.protocol.identifiers import StudyId, address_of, bytes32, hex_of
from wardround.protocol.manifest import Signature
from wardround.protocol.report import Address, Hex32
from wardround.protocol.version import PROTOCOL, Protocol

FORMAT: Literal["wardround-audit/1"] = "wardround-audit/1"
#: A hundred thousand rounds of ten sites have less.
RESULT_MAX_BYTES = 1 << 28

RESULT_TYPE = "AuditResult(bytes32 study,uint32 round,bytes32 record,bytes32 result)"
_RESULT_TYPEHASH = keccak(text=RESULT_TYPE)


@dataclass(frozen=True)
class AuditStatement:
    """What the auditor signs: up to this round all holds, as the result has it.

    Attributes:
        round: the last one.
        record: the commitment to its closing, 32 bytes.
        result: SHA-256 of the result in RFC 8785 form.
    """

    study: StudyId
    round: int
    record: bytes
    result: bytes

    def signing_digest(self, domain: Domain) -> bytes:
        """EIP-712 digest that the auditor's key signs, 32 bytes."""
        body = keccak(
            _RESULT_TYPEHASH
            + self.study
            + self.round.to_bytes(32, "big")
            + self.record
            + self.result
        )
        return keccak(b"\x19\x01" + domain.separator + body)


class AuditResult(Form):
    """What was audited, and what was found.

    Attributes:
        software: what audited.
        closings: the commitment to each round's closing, from round 1 on.
        findings: as ``wardround audit --json`` prints them.
    """

    protocol: Protocol
    format: Literal["wardround-audit/1"]
    software: Annotated[str, Field(max_length=100)]
    chain_id: Annotated[int, Field(ge=1, lt=2**53)]
    contract: Address
    study: Hex32
    closings: Annotated[list[Hex32], Field(min_length=1)]
    findings: Annotated[list[dict[str, Any]], Field(min_length=1)]

    @property
    def domain(self) -> Domain:
        """The chain and contract that its signature is good for."""
        return Domain(self.chain_id, address_of(self.contract))

    @property
    def digest(self) -> bytes:
        """SHA-256 of its RFC 8785 form, 32 bytes."""
        return sha256_digest(canonical_bytes(self.model_dump(mode="json")))

    @property
    def statement(self) -> AuditStatement:
        """What its auditor signs."""
        return AuditStatement(
            StudyId(bytes32(self.study, "study")),
            len(self.closings),
            bytes32(self.closings[-1], "closing"),
            self.digest,
        )


class SignedResult(Form):
    """A result with its auditor and the auditor's signature."""

    result: AuditResult
    auditor: Address
    signature: Signature

    def encode(self) -> bytes:
        """Write it in RFC 8785 form, as it is kept and published."""
        return canonical_bytes(self.model_dump(mode="json"))

    def check_signature(self) -> None:
        """Check that the auditor made the signature.

        Raises:
            SignatureInvalid: it did not.
        """
        digest = self.result.statement.signing_digest(self.result.domain)
        signer = recover_signer(digest, bytes.fromhex(self.signature[2:]), self.auditor)
        if signer != address_of(self.auditor):
            raise SignatureInvalid(self.auditor, f"made by {signer}")


def sign_result(
    facts: StudyFacts,
    closed: Sequence[ClosedOnChain],
    findings: Sequence[Mapping[str, Any]],
    auditor: LocalAccount,
) -> SignedResult:
    """Sign what an audit found.

    Args:
        facts: of the study.
        closed: its rounds from 1 on, at least one.
        findings: all of the audit; the last is that all holds.
        auditor: signs.
    Raises:
        SpecificationError: no round was closed.
    """
    if not closed:
        reason = "no round was closed: there is nothing to sign"
        raise SpecificationError(f"study {hex_of(facts.study)}", reason)
    result = AuditResult(
        protocol=PROTOCOL,
        format=FORMAT,
        software=f"wardround {metadata.version('wardround')}",
        chain_id=facts.domain.chain_id,
        contract=facts.domain.contract.lower(),
        study=hex_of(facts.study),
        closings=[hex_of(one.closing.commitment) for one in closed],
        findings=[dict(finding) for finding in findings],
    )
    digest = result.statement.signing_digest(result.domain)
    signature = sign_digest(digest, bytes(auditor.key))
    return SignedResult(
        result=result, auditor=auditor.address.lower(), signature="0x" + signature.hex()
    )


def read_result(path: Path) -> SignedResult:
    """Read a signed result, and check its signature.

    Raises:
        SpecificationError: there is no such file.
        Malformed: it has not the form, or does not end with the verdict that all holds.
        ProtocolError: made by another protocol; names it.
        SignatureInvalid: its auditor did not sign it.
    """
    if not path.is_file():
        raise SpecificationError(path, "there is no such file")
    with path.open("rb") as file:
        data = file.read(RESULT_MAX_BYTES + 1)
    signed = parse_document(SignedResult, data, f"audit result {path}", RESULT_MAX_BYTES)
    signed.check_signature()
    last = signed.result.findings[-1]
    if (last.get("kind"), last.get("holds")) != ("verdict", True):
        raise Malformed(f"audit result {path}", "it does not end with the verdict that all holds")
    return signed


def check_closings(
    path: Path, result: AuditResult, facts: StudyFacts, closed: Sequence[ClosedOnChain]
) -> None:
    """Check that a result is about a study as the chain has it now.

    Args:
        path: where the result is from, for the error.
        result: its signature was checked.
        facts: of the study.
        closed: its rounds from 1 on.
    Raises:
        StudyMismatch: it is about another study, or about a round that was overturned since.
    """
    advice = "audit the whole study"
    stated = (result.chain_id, result.contract, result.study)
    here = (facts.domain.chain_id, facts.domain.contract.lower(), hex_of(facts.study))
    for what, found, expected in zip(("chain", "contract", "study"), stated, here, strict=True):
        if found != expected:
            raise StudyMismatch(f"{what} of {path}", str(expected), str(found), advice)
    for number, found in enumerate(result.closings, 1):
        standing = hex_of(closed[number - 1].closing.commitment) if number <= len(closed) else None
        if found != standing:
            what = f"closing of round {number} in {path}"
            raise StudyMismatch(what, standing or "none: it is open", found, advice)
