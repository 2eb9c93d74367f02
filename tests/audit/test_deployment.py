"""A deployment proven by `wardround contract verify`, from a chain and from a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from hypothesis import given
from hypothesis import strategies as st

from tests.calling import Call as Command
from wardround.chain.artifacts import load_artifact, standard_input
from wardround.chain.contract import Call, created_address
from wardround.chain.known_code import known_contract
from wardround.chain.signed import read_signed
from wardround.chain.ward_round import WardRound
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.evm import Genesis
from wardround.protocol.errors import Malformed

CHAIN_ID = 31_337_002
ETHER = 10**18


@dataclass(frozen=True)
class Place:
    """A chain with a WardRound, and the transactions that created it and its court."""

    chain: EmbeddedChain
    alice: LocalAccount
    ward: WardRound
    creations: list[str]

    @property
    def named(self) -> list[str]:
        """The command's arguments that name the contract and its creations."""
        words = [word for one in self.creations for word in ("--creation", one)]
        return [self.ward.address, "--rpc", self.chain.url, *words]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    alice = Account.create()
    genesis = Genesis(CHAIN_ID, 1_760_000_000, {alice.address: 1000 * ETHER})
    chain = EmbeddedChain("deployment", genesis)
    ward = WardRound.deploy(chain, alice)
    creations = [chain.block(number).transactions[0] for number in (2, 4)]
    yield Place(chain, alice, ward, creations)
    chain.close()


@pytest.fixture
def kept(place: Place, call: Command) -> Path:
    """What the command keeps of the deployment."""
    assert "kept in" in call("contract", "verify", *place.named, "--keep", "kept.json").good
    return Path("kept.json")


# ---------------------------------------------------------------- what holds


def test_deployment_of_ours_is_proven_from_a_chain_and_offline(
    place: Place, call: Command, kept: Path
) -> None:
    shown = call("contract", "verify", *place.named).good
    ward, known = place.ward.address, known_contract(place.chain, place.ward.address)
    parts = {"WardRound": ward, "WardRoundAnnex": known.annex}
    parts |= {"Court": known.court, "CourtAnnex": known.court_annex, "Escrow": known.escrow}
    for name, address in parts.items():
        assert f"{name} {address}: code of this release" in shown
    assert f"created by {ward} in transaction {place.creations[1]}" in shown
    for one in place.creations:
        assert f"created by {place.alice.address} in transaction {one}" in shown
    assert f"so is how it was created on chain {CHAIN_ID}." in shown
    assert call("contract", "verify", kept).good == shown


def test_code_alone_says_that_storage_is_not_proven(place: Place, call: Command) -> None:
    shown = call("contract", "verify", place.ward.address, "--rpc", place.chain.url).good
    assert "Its storage is not proven" in shown


def test_sources_are_written_as_solc_takes_them(place: Place, call: Command, kept: Path) -> None:
    shown = call("contract", "verify", kept, "--standard-json", "sources").good
    for name, names in (("WardRound", place.ward.court()), ("Court", place.ward.address)):
        artifact = load_artifact(name)
        assert json.loads(Path(f"sources/{name}.json").read_text()) == standard_input(artifact)
        arguments = bytes.fromhex(names[2:]).rjust(32, b"\0").hex()
        assert f"src/{name}.sol:{name}, solc v{artifact.compiler}" in shown
        assert f"constructor arguments 0x{arguments}" in shown


# ---------------------------------------------------------------- what does not


def test_other_constructor_is_refused(place: Place, call: Command) -> None:
    """It leaves the known code over a storage that it filled, which the code does not show."""
    nonce = place.chain.transaction_count(place.alice.address)
    places = [created_address(place.alice.address, nonce + one) for one in range(4)]
    annex, court, ward, escrow = places
    hashes = []
    known = known_contract(place.chain, place.ward.address)
    honest = {"CourtAnnex": known.court_annex, "Court": known.court, "WardRound": known.address}
    honest["Escrow"] = known.escrow
    for (name, here), at in zip(honest.items(), places, strict=True):
        # Of an honest deployment, with the immutables of this one.
        code = bytearray(place.chain.code(here))
        words = {"WARD": ward, "COURT": court, "ESCROW": escrow, "_cachedThis": at}
        words["ANNEX"] = annex if name == "Court" else known.annex
        for immutable, offsets in load_artifact(name).runtime.immutables.items():
            word = bytes.fromhex(words.get(immutable, "0x")[2:]).rjust(32, b"\0")
            if immutable == "_cachedDomainSeparator":
                word = WardRound(place.chain, at).domain.separator
            elif immutable not in words:
                continue
            for one in offsets:
                code[one : one + 32] = word
        # SSTORE(0, 1), then return the code that follows these 16 bytes.
        size = f"{len(code):04x}"
        creation = bytes.fromhex(f"60015f5561{size}60105f3961{size}5ff3") + code
        receipt = place.chain.send(place.alice, Call(None, creation, "constructor"), "forge")
        assert receipt is not None
        assert receipt.contract_address == at
        hashes.append(receipt.transaction_hash)
    assert known_contract(place.chain, ward).court == court
    forged = Place(place.chain, place.alice, WardRound(place.chain, ward), hashes)
    refused = call("contract", "verify", *forged.named).error
    assert "with a constructor that is not" in refused
    assert "[contract-unknown]" in refused


def test_escrow_that_the_contract_did_not_create_is_refused(
    place: Place, kept: Path, call: Command
) -> None:
    """A file may show what no chain has: known code at another address."""
    document = json.loads(kept.read_text())
    honest, other = place.ward.escrow()[2:].lower(), "77" * 20
    code = {at.replace(honest, other): one for at, one in document["code"].items()}
    ward = document["contract"]
    code[ward] = code[ward].replace(honest, other)
    kept.write_text(json.dumps(document | {"code": code}))
    assert "did not create it" in call("contract", "verify", kept).error


def test_creation_of_one_contract_alone_is_refused(place: Place, call: Command) -> None:
    ended = call("contract", "verify", *place.named[:3], "--creation", place.creations[1])
    assert place.ward.court() in ended.error
    assert "none of the transactions creates it" in ended.error


def test_transaction_that_creates_nothing_is_refused(place: Place, call: Command) -> None:
    sent = place.chain.transfer(place.alice, place.alice.address, 0).transaction_hash
    ended = call("contract", "verify", *place.named, "--creation", sent)
    assert "calls it and creates nothing" in ended.error


def test_transaction_that_is_not_there_is_refused(place: Place, call: Command) -> None:
    ended = call("contract", "verify", *place.named, "--creation", "0x" + "77" * 32)
    assert "has no transaction 0x7777" in ended.error


def test_creation_on_another_chain_is_refused(kept: Path, place: Place, call: Command) -> None:
    document = json.loads(kept.read_text())
    transaction = {"nonce": 0, "gas": 10**6, "gasPrice": 1, "data": "0x", "chainId": 1, "value": 0}
    document["creations"] = ["0x" + place.alice.sign_transaction(transaction).raw_transaction.hex()]
    kept.write_text(json.dumps(document))
    assert "creates it on chain 1, not" in call("contract", "verify", kept).error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "wardround-deployment/0"}, "its format is 'wardround-deployment/0'"),
        ({"protocol": "wardround/1"}, "made by protocol wardround/1, which this version does not"),
        ({"protocol": 2}, "protocol"),
        ({"chain_id": 0}, "chain_id"),
        ({"code": {}}, "there is no contract"),
        ({"creations": ["0x"]}, "a transaction is malformed"),
        ({"creations": ["0x02c0"]}, "a transaction is malformed"),
        ({"creations": ["0x0"]}, "creations.0"),
        ({"more": 1}, "no such key"),
    ],
)
def test_file_that_was_changed_is_refused(
    kept: Path, call: Command, change: dict[str, object], words: str
) -> None:
    kept.write_text(json.dumps(json.loads(kept.read_text()) | change))
    assert words in call("contract", "verify", kept).error


def test_file_from_before_protocols_were_named_is_refused_by_name(
    kept: Path, call: Command
) -> None:
    document = json.loads(kept.read_text())
    del document["protocol"]
    kept.write_text(json.dumps(document))
    assert "made by protocol wardround/1" in call("contract", "verify", kept).error


def test_byte_of_the_kept_code_that_was_changed_is_refused(kept: Path, call: Command) -> None:
    document = json.loads(kept.read_text())
    code = document["code"][document["contract"]]
    document["code"][document["contract"]] = code[:100] + f"{int(code[100], 16) ^ 1:x}" + code[101:]
    kept.write_text(json.dumps(document))
    assert "those of no known WardRound" in call("contract", "verify", kept).error


def test_file_that_is_no_deployment_is_refused(call: Command) -> None:
    Path("long.json").write_bytes(b" " * (1 << 20) + b"{}")
    Path("text.json").write_text("{")
    assert "longer than" in call("contract", "verify", "long.json").error
    assert "not JSON" in call("contract", "verify", "text.json").error
    assert "No such file" in call("contract", "verify", "none.json").error
    assert "needs --rpc" in call("contract", "verify", "0x1234").error
    assert "leave --rpc, --chain-id" in call("contract", "verify", "text.json", "--rpc", "x").error


@given(st.binary(max_size=200))
def test_bytes_that_are_no_transaction_are_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed):
        read_signed(raw)
