"""Proof that a deployment is wardround's: its code, and the transactions that created it.

The code alone does not tell what a constructor wrote into storage: another constructor may
leave known code over a storage that it filled. The creating transactions do: their calldata
must be this package's creation code, and their sender and nonce make the contract's address.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

from eth_utils import keccak
from pydantic import ConfigDict, Field

from wardround.chain.artifacts import Artifact, load_artifact
from wardround.chain.chain import Chain
from wardround.chain.contract import created_address
from wardround.chain.errors import ChainError, UnknownContract
from wardround.chain.known_code import known_contract
from wardround.chain.signed import SignedTransaction, read_signed
from wardround.protocol.documents import Form, decode_text, validate_form
from wardround.protocol.errors import SpecificationError
from wardround.protocol.identifiers import address_of, bytes32
from wardround.protocol.report import Address
from wardround.protocol.version import FORMER, PROTOCOL, Protocol

FORMAT = "wardround-deployment/1"
#: Five contracts and their creations fit into it many times.
_MAX_BYTES = 1 << 20

_Hex = Annotated[str, Field(pattern=r"^0x(?:[0-9a-f]{2})*$")]


class DeploymentFile(Form):
    """What was kept of a deployment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: A file from before it was written here is another protocol's.
    protocol: Annotated[Protocol, Field(validate_default=True)] = cast(Protocol, FORMER)
    format: str
    chain_id: Annotated[int, Field(ge=1, lt=2**53)]
    contract: Address
    code: dict[Address, _Hex]
    creations: list[_Hex]


@dataclass(frozen=True)
class Deployment:
    """A deployment as a node has shown it.

    Attributes:
        file: its code, and its creations as they were signed.
    """

    file: DeploymentFile

    @property
    def chain_id(self) -> int:
        """Of the chain that it is on."""
        return self.file.chain_id

    def code(self, address: str) -> bytes:
        """The code at an address; empty where none was kept."""
        return bytes.fromhex(self.file.code.get(address.lower(), "0x")[2:])

    def storage(self, address: str, slot: bytes) -> bytes:
        """Zero: no storage is kept."""
        return bytes(32)


@dataclass(frozen=True)
class ProvenContract:
    """A contract of ours.

    Attributes:
        code_hash: keccak256 of its code, as a node gives it in ``eth_getProof``.
        creation: the transaction that created it; None where none was shown.
        creator: who did, its sender or, of an escrow, the WardRound.
        arguments: of its constructor, ABI-encoded.
    """

    artifact: Artifact
    address: str
    release: str
    code_hash: bytes
    creation: SignedTransaction | None = None
    creator: str = ""
    arguments: bytes = b""


def fetch_deployment(chain: Chain, contract: str, creations: Iterable[str]) -> Deployment:
    """Ask a chain for a deployment.

    Args:
        chain: the chain.
        contract: address of the WardRound.
        creations: hashes of the transactions that created it and its court.

    Raises:
        UnknownContract: its code is not known.
        ChainError: the node knows no such transaction, or does not give it as it was signed.
    """
    known = known_contract(chain, contract)
    code = {
        one.lower(): "0x" + chain.code(one).hex()
        for one in (known.address, known.annex, known.court, known.court_annex, known.escrow)
    }
    signed = [_signed(chain, bytes32(one, f"--creation {one}")) for one in creations]
    return Deployment(
        DeploymentFile(
            protocol=PROTOCOL,
            format=FORMAT,
            chain_id=chain.chain_id,
            contract=contract.lower(),
            code=code,
            creations=signed,
        )
    )


def read_deployment(path: Path) -> Deployment:
    """Read what was kept of a deployment.

    Raises:
        SpecificationError: the file is none.
        ProtocolError: the deployment is of another protocol; names it.
    """
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise SpecificationError(path, f"no deployment is longer than {_MAX_BYTES:,} bytes")
    try:
        value = json.loads(decode_text(data, str(path)))
    except (ValueError, RecursionError) as error:
        raise SpecificationError(path, f"not JSON: {error}") from error
    found = validate_form(DeploymentFile, value, "", str(path))
    if found.format != FORMAT:
        raise SpecificationError(path, f"its format is {found.format!r}, not {FORMAT!r}")
    return Deployment(found)


def prove(deployment: Deployment) -> list[ProvenContract]:
    """Prove that code and creations are those of a known release.

    Returns:
        The WardRound, its Court, its Escrow, and both annexes, which work on the storage of the
        first two: of them the code is all.
    Raises:
        UnknownContract: one of them is not, or a creation is missing where others are shown.
        Malformed: a creation is no signed transaction.
    """
    known = known_contract(deployment, address_of(deployment.file.contract))
    made = {}
    for raw in deployment.file.creations:
        sent = read_signed(bytes.fromhex(raw[2:]))
        made[_created(sent, deployment.chain_id)] = sent
    ward, court = (
        _proven(deployment, name, address, known.release, made)
        for name, address in (("WardRound", known.address), ("Court", known.court))
    )
    annexes = (
        _proven(deployment, name, address, known.release, {})
        for name, address in (("WardRoundAnnex", known.annex), ("CourtAnnex", known.court_annex))
    )
    return [ward, court, _proven_escrow(deployment, ward, known.escrow), *annexes]


def _signed(chain: Chain, name: bytes) -> str:
    """A mined transaction as it was signed."""
    named = "0x" + name.hex()
    receipt = chain.receipt(named)
    if receipt is None or receipt.status != 1:
        raise ChainError(f"{chain.url} has no transaction {named} that succeeded: correct it.")
    raw = chain.rpc("eth_getRawTransactionByHash", named)
    if not isinstance(raw, str):
        reason = f"does not give transaction {named} as it was signed: use another endpoint"
        raise ChainError(f"{chain.url} {reason}.")
    return raw


def _created(sent: SignedTransaction, chain_id: int) -> str:
    """Address of the contract that a transaction created."""
    made = created_address(sent.sender, sent.nonce)
    if sent.to is not None:
        raise UnknownContract(sent.to, f"transaction {sent.hash} calls it and creates nothing")
    if sent.chain_id != chain_id:
        reason = f"transaction {sent.hash} creates it on chain {sent.chain_id}, not {chain_id}"
        raise UnknownContract(made, reason)
    return made


def _proven(
    deployment: Deployment,
    name: str,
    address: str,
    release: str,
    made: Mapping[str, SignedTransaction],
) -> ProvenContract:
    """Hold a contract's creation against the artifact; without any creations, its code is all."""
    artifact = load_artifact(name, release)
    code_hash = keccak(deployment.code(address))
    if not made:
        return ProvenContract(artifact, address, release, code_hash)
    creation = made.get(address)
    if creation is None:
        reason = "none of the transactions creates it: name the one that did as well"
        raise UnknownContract(address, reason)
    if not creation.data.startswith(artifact.bytecode):
        reason = (
            f"its code is known, but transaction {creation.hash} created it with a constructor "
            "that is not: its storage may hold anything, so use another contract"
        )
        raise UnknownContract(address, reason)
    arguments = creation.data[len(artifact.bytecode) :]
    return ProvenContract(
        artifact, address, release, code_hash, creation, creation.sender, arguments
    )


def _proven_escrow(deployment: Deployment, ward: ProvenContract, address: str) -> ProvenContract:
    """Hold an escrow's address against that of the first contract its WardRound creates."""
    artifact = load_artifact("Escrow", ward.release)
    code_hash = keccak(deployment.code(address))
    if ward.creation is None:
        return ProvenContract(artifact, address, ward.release, code_hash)
    if address != created_address(ward.address, 1):
        reason = f"its code is known, but {ward.address} did not create it: use another contract"
        raise UnknownContract(address, reason)
    return ProvenContract(artifact, address, ward.release, code_hash, ward.creation, ward.address)
