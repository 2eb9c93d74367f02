"""Code at an address, held against the artifacts: every way in which it may be another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st
from web3.providers import BaseProvider
from web3.types import RPCEndpoint, RPCResponse

from tests.chain.conftest import CHAIN_ID, ETHER, GENESIS_SECONDS, World
from wardround.chain import artifacts
from wardround.chain.artifacts import load_artifact
from wardround.chain.chain import Chain, connected
from wardround.chain.contract import Call
from wardround.chain.errors import ChainUnreachable, UnknownContract
from wardround.chain.known_code import CODE_MAX_BYTES, known_contract
from wardround.chain.rpc import Rpc
from wardround.chain.ward_round import WardRound
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.evm import Genesis
from wardround.protocol.contribution import Domain

#: The contracts of a deployment, by what the tests call them.
CONTRACTS = {
    "ward": "WardRound",
    "annex": "WardRoundAnnex",
    "court": "Court",
    "court_annex": "CourtAnnex",
    "escrow": "Escrow",
}
STRANGER = "0x00000000000000000000000000000000DeaDBeef"


@dataclass(frozen=True)
class Answers:
    """A chain as its node tells of it."""

    chain_id: int
    codes: dict[str, bytes]
    slots: dict[bytes, bytes] = field(default_factory=dict)

    def code(self, address: str) -> bytes:
        return self.codes.get(address, b"")

    def storage(self, address: str, slot: bytes) -> bytes:
        return self.slots.get(slot, bytes(32))

    def with_code(self, address: str, code: bytes) -> Answers:
        return replace(self, codes={**self.codes, address: code})


@dataclass(frozen=True)
class Deployed:
    ward: str
    annex: str
    court: str
    court_annex: str
    escrow: str
    answers: Answers


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    """A contract as our own code deploys it."""
    alice = Account.create()
    chain = EmbeddedChain(
        "known", Genesis(CHAIN_ID, GENESIS_SECONDS, {alice.address: 1000 * ETHER})
    )
    ward = WardRound.deploy(chain, alice)
    known = known_contract(chain, ward.address)
    parts = (ward.address, known.annex, ward.court(), known.court_annex, ward.escrow())
    yield Deployed(*parts, Answers(CHAIN_ID, {one: chain.code(one) for one in parts}))
    chain.close()


def refused(chain: Answers | Chain, address: str) -> UnknownContract:
    with pytest.raises(UnknownContract) as caught:
        known_contract(chain, address)
    return caught.value


# ---------------------------------------------------------------- what is ours


def test_contract_when_ours_is_known_in_five_requests(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward = WardRound.deploy(world.chain, world.alice)
    parts, ask, asked = (ward.court(), ward.escrow()), Rpc.__call__, list[str]()

    def counted(rpc: Rpc, method: str, *words: Any) -> Any:
        asked.append(method)
        return ask(rpc, method, *words)

    monkeypatch.setattr(Rpc, "__call__", counted)
    known = known_contract(world.chain, ward.address.lower())
    assert (known.address, known.court, known.escrow) == (ward.address, *parts)
    assert known.release == ""
    assert asked == ["eth_getCode"] * 5


def test_contract_of_an_earlier_release_is_known_by_its_folder(
    deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This release's artifacts have one byte of another hash; the folder has what is deployed."""
    shutil.copytree(
        Path(artifacts.__file__).parent, tmp_path / "0.0.9", ignore=shutil.ignore_patterns("*.py*")
    )
    for path in (tmp_path / "0.0.9").glob("*.json"):
        document = json.loads(path.read_text())
        if path.name != "sources.json":
            document["runtime"]["sha256"] = "00" * 32
        (tmp_path / path.name).write_text(json.dumps(document))
    caches = load_artifact, artifacts.releases
    try:
        with monkeypatch.context() as patched:
            patched.setattr(artifacts, "_FOLDER", tmp_path)
            for one in caches:
                one.cache_clear()
            assert known_contract(deployed.answers, deployed.ward).release == "0.0.9"
            shutil.rmtree(tmp_path / "0.0.9")
            for one in caches:
                one.cache_clear()
            refused(deployed.answers, deployed.ward)
    finally:
        for one in caches:
            one.cache_clear()


# ---------------------------------------------------------------- what is not


def test_address_without_code_is_refused(deployed: Deployed) -> None:
    error = refused(deployed.answers, STRANGER)
    assert error.code == "contract-unknown"
    assert "there is no contract" in str(error)
    assert STRANGER in str(error)


@pytest.mark.parametrize("which", CONTRACTS)
@given(data=st.data())
def test_byte_changed_anywhere_is_refused(
    deployed: Deployed, which: str, data: st.DataObject
) -> None:
    address = getattr(deployed, which)
    code = bytearray(deployed.answers.code(address))
    place = data.draw(st.integers(0, len(code) - 1))
    code[place] ^= data.draw(st.integers(1, 255))
    error = refused(deployed.answers.with_code(address, bytes(code)), deployed.ward)
    # A changed address of another part leads to where there is none.
    assert error.address == address or "there is no contract" in error.reason


def immutables() -> list[tuple[str, str]]:
    return [
        (which, name)
        for which, contract in CONTRACTS.items()
        for name in load_artifact(contract).runtime.immutables
    ]


@pytest.mark.parametrize(("which", "name"), immutables())
def test_immutable_of_another_deployment_is_refused(
    deployed: Deployed, which: str, name: str
) -> None:
    address = getattr(deployed, which)
    code = bytearray(deployed.answers.code(address))
    for place in load_artifact(CONTRACTS[which]).runtime.immutables[name]:
        code[place + 31] ^= 1
    error = refused(deployed.answers.with_code(address, bytes(code)), deployed.ward)
    elsewhere = name in ("ANNEX", "COURT", "ESCROW")
    assert ("there is no contract" if elsewhere else f"with {name} = 0x") in str(error)


def test_court_of_another_contract_is_refused(deployed: Deployed) -> None:
    """Both are known code, but the court names another contract."""
    code = bytearray(deployed.answers.code(deployed.ward))
    words = {
        "_cachedThis": bytes.fromhex(STRANGER[2:]).rjust(32, b"\0"),
        "_cachedDomainSeparator": Domain(CHAIN_ID, STRANGER).separator,
    }
    for name, word in words.items():
        for place in load_artifact("WardRound").runtime.immutables[name]:
            code[place : place + 32] = word
    error = refused(deployed.answers.with_code(STRANGER, bytes(code)), STRANGER)
    assert error.address == deployed.court
    assert "WARD" in error.reason


def test_contract_on_another_chain_is_refused(deployed: Deployed) -> None:
    error = refused(replace(deployed.answers, chain_id=1), deployed.ward)
    assert "_cachedChainId" in str(error) or "_cachedDomainSeparator" in str(error)


def test_contract_of_the_former_protocol_is_refused_by_name(deployed: Deployed) -> None:
    """Other code, in which the EIP-712 domain's version is the one before."""
    code = bytearray(deployed.answers.code(deployed.ward))
    for place in load_artifact("WardRound").runtime.immutables["_version"]:
        code[place : place + 32] = b"1".ljust(31, b"\0") + b"\x01"
    code[-1] ^= 1
    error = refused(deployed.answers.with_code(deployed.ward, bytes(code)), deployed.ward)
    assert "it speaks protocol wardround/1, which this version does not read" in str(error)


def test_answer_that_is_cut_short_is_refused(deployed: Deployed) -> None:
    code = deployed.answers.code(deployed.ward)
    error = refused(deployed.answers.with_code(deployed.ward, code[:-1]), deployed.ward)
    assert f"its {len(code) - 1:,} bytes of code are those of no known WardRound" in str(error)


def test_answer_longer_than_any_contract_is_refused(deployed: Deployed) -> None:
    code = bytes(CODE_MAX_BYTES + 1)
    error = refused(deployed.answers.with_code(deployed.ward, code), deployed.ward)
    assert "24,577 bytes of code, more than the 24,576" in str(error)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("363d3d373d3d3d363d73{}5af43d82803e903d91602b57fd5bf3", "a minimal proxy of 0x{}"),
        ("ef0100{}", "an account that delegates to 0x{}"),
    ],
)
def test_code_that_calls_another_contract_is_named(
    deployed: Deployed, code: str, words: str
) -> None:
    there = bytes.fromhex(code.format(deployed.ward[2:]))
    error = refused(deployed.answers.with_code(STRANGER, there), STRANGER)
    assert words.format(deployed.ward[2:]) in str(error)


def test_proxy_whose_owner_can_replace_it_is_named(world: World) -> None:
    """EIP-1967: its constructor stores an implementation in the slot that the EIP names."""
    slot = "360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"
    # PUSH20 implementation, PUSH32 slot, SSTORE; then return one byte of code.
    creation = bytes.fromhex(f"73{STRANGER[2:]}7f{slot}5560016000f3")
    receipt = world.chain.send(world.alice, Call(None, creation, "constructor"), "deploy a proxy")
    assert receipt is not None
    assert receipt.contract_address is not None
    assert "a proxy is there" in str(refused(world.chain, receipt.contract_address))


class Garbled(BaseProvider):
    """A node whose answers are no code."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        result = hex(CHAIN_ID) if method == "eth_chainId" else self.answer
        return {"jsonrpc": "2.0", "id": 1, "result": result}


@pytest.mark.parametrize("answer", ["0x608", "0xzz", "6080", "", 7, None, [], {}])
def test_answer_that_is_no_code_is_no_answer(answer: Any) -> None:
    """Another endpoint is asked, where there is one."""
    with pytest.raises(ChainUnreachable, match="does not speak Ethereum"):
        known_contract(Chain(Rpc(Garbled(answer), "garbled")), STRANGER)


def test_endpoint_that_is_away_is_no_other_contract() -> None:
    with pytest.raises(ChainUnreachable), connected("http://127.0.0.1:1") as chain:
        known_contract(chain, STRANGER)
