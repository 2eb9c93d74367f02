"""What docs/protocol.md tells of contracts and logs is enough to recognise and to read them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib import resources
from typing import Any

import pytest
from eth_account.messages import encode_typed_data
from eth_utils import keccak

from tests.chain.staged import Theatre, theatre
from wardround.audit.challenge import send_challenge
from wardround.chain.known_code import known_contract
from wardround.chain.ward_round import WardRound
from wardround_simulations import cheats
from wardround_simulations.cheats import Cheater

NAMES = ("WardRound", "WardRoundAnnex", "Court", "CourtAnnex", "Escrow")
CLOSED = (
    "RoundClosed(bytes32,uint32,(bytes32,bytes32,bytes32,bytes32,uint32,uint64),address,uint64)"
)
OVERTURNED = "Overturned(bytes32,uint32,address,address,bytes32,uint64,address)"


class NotRecognised(Exception):
    """A contract is not the one that the page describes."""


# ---------------------------------------------------------------- the second reader


def immutables(runtime: Mapping[str, Any], code: bytes) -> dict[str, bytes]:
    if len(code) != runtime["bytes"]:
        raise NotRecognised("length")
    blank, found = bytearray(code), {}
    for name, offsets in runtime["immutables"].items():
        words = {code[at : at + 32] for at in offsets}
        if len(words) != 1:
            raise NotRecognised(name)
        (found[name],) = words
        for at in offsets:
            blank[at : at + 32] = bytes(32)
    if hashlib.sha256(blank).hexdigest() != runtime["sha256"]:
        raise NotRecognised("code")
    return found


def recognise(
    code_at: Callable[[str], bytes], artifacts: Mapping[str, Any], chain_id: int, ward: str
) -> dict[str, str]:
    """The addresses of the five contracts, from that of WardRound."""

    def read(name: str, address: str) -> dict[str, bytes]:
        return immutables(artifacts[name]["runtime"], code_at(address))

    def padded(address: str) -> bytes:
        return bytes(12) + bytes.fromhex(address[2:])

    def address_in(word: bytes) -> str:
        if any(word[:12]):
            raise NotRecognised("address")
        return "0x" + word[12:].hex()

    def short(text: str) -> bytes:
        return text.encode().ljust(31, b"\0") + bytes([len(text)])

    def domain(address: str) -> dict[str, bytes]:
        data = {"name": "wardround", "version": "2", "chainId": chain_id}
        data["verifyingContract"] = address
        return {
            "_cachedChainId": chain_id.to_bytes(32, "big"),
            "_cachedThis": padded(address),
            "_cachedDomainSeparator": encode_typed_data(data, {"A": []}, {}).header,
            "_hashedName": keccak(text="wardround"),
            "_hashedVersion": keccak(text="2"),
            "_name": short("wardround"),
            "_version": short("2"),
        }

    own = read("WardRound", ward)
    found = {"WardRound": ward}
    found["WardRoundAnnex"] = address_in(own.pop("ANNEX"))
    found["Court"] = address_in(own.pop("COURT"))
    found["Escrow"] = address_in(own.pop("ESCROW"))
    court = read("Court", found["Court"])
    found["CourtAnnex"] = address_in(court.pop("ANNEX"))
    annex = read("WardRoundAnnex", found["WardRoundAnnex"])
    if own != domain(ward) or annex != domain(found["WardRoundAnnex"]):
        raise NotRecognised("domain")
    for name in ("CourtAnnex", "Escrow"):
        court |= {f"{name} {key}": word for key, word in read(name, found[name]).items()}
    if set(court.values()) != {padded(ward)}:
        raise NotRecognised("WARD")
    created = keccak(b"\xd6\x94" + bytes.fromhex(ward[2:]) + b"\x01")
    if found["Escrow"] != "0x" + created[12:].hex():
        raise NotRecognised("Escrow's creator")
    return found


def closings(logs: Iterable[Any]) -> dict[int, bytes]:
    """Each round's commitment, by the logs of a study in their order."""
    found: dict[int, bytes] = {}
    for log in logs:
        if log.topics[0] == keccak(text=CLOSED):
            found[int.from_bytes(log.topics[2], "big")] = keccak(log.data)
        elif log.topics[0] == keccak(text=OVERTURNED):
            number = int.from_bytes(log.topics[2], "big")
            found = {known: closing for known, closing in found.items() if known < number}
    return found


# ---------------------------------------------------------------- against real contracts


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("second-chain")) as opened:
        yield opened


@pytest.fixture(scope="module")
def artifacts() -> dict[str, Any]:
    folder = resources.files("wardround.chain.artifacts")
    return {name: json.loads(folder.joinpath(f"{name}.json").read_text("utf-8")) for name in NAMES}


def test_deployment_is_recognised(scene: Theatre, artifacts: dict[str, Any]) -> None:
    chain, ward = scene.chain, scene.ward.address
    known = known_contract(chain, ward)
    found = recognise(chain.code, artifacts, chain.chain_id, ward.lower())
    parts = (known.address, known.annex, known.court, known.court_annex, known.escrow)
    assert found == {name: part.lower() for name, part in zip(NAMES, parts, strict=True)}


@pytest.mark.parametrize("name", NAMES)
def test_changed_code_is_not_recognised(
    scene: Theatre, artifacts: dict[str, Any], name: str
) -> None:
    chain, ward = scene.chain, scene.ward.address.lower()
    changed = recognise(chain.code, artifacts, chain.chain_id, ward)[name]

    def with_flipped(place: int, address: str) -> bytes:
        code = bytearray(chain.code(address))
        if address == changed:
            code[place] ^= 1
        return bytes(code)

    words = artifacts[name]["runtime"]["immutables"].values()
    size = artifacts[name]["runtime"]["bytes"]
    # In the code, and in the last byte of each immutable's first word.
    for place in (0, size - 1, *(offsets[0] + 31 for offsets in words)):
        with pytest.raises(NotRecognised):
            recognise(partial(with_flipped, place), artifacts, chain.chain_id, ward)


def test_parts_of_another_deployment_are_not_recognised(
    scene: Theatre, artifacts: dict[str, Any]
) -> None:
    chain, ward = scene.chain, scene.ward.address.lower()
    other = WardRound.deploy(chain, scene.parties.sponsor).address.lower()
    mine = recognise(chain.code, artifacts, chain.chain_id, ward)
    theirs = recognise(chain.code, artifacts, chain.chain_id, other)
    for name in ("WardRoundAnnex", "Court", "CourtAnnex", "Escrow"):
        swapped = {mine[name]: theirs[name]}
        with pytest.raises(NotRecognised):
            recognise(
                lambda address, names=swapped: chain.code(names.get(address, address)),  # type: ignore[misc]
                artifacts,
                chain.chain_id,
                ward,
            )
    with pytest.raises(NotRecognised):
        recognise(chain.code, artifacts, chain.chain_id + 1, ward)


def test_overturned_rounds_are_read_as_the_contract_has_them(scene: Theatre) -> None:
    stage, parties, ward = scene.stage(), scene.parties, scene.ward
    stage.close(parties.first)
    cheats.shift_a_coordinate(Cheater(stage, parties.first))
    stage.close(parties.first)

    def read() -> dict[int, bytes]:
        return closings(scene.chain.logs(ward.address, [None, stage.study]))

    def kept() -> dict[int, bytes]:
        head = ward.study(stage.study).head
        return {number: ward.commitment(stage.study, number) for number in range(1, head)}

    assert read() == kept()
    assert len(read()) == 3
    contested, accused = scene.contested(stage, 2), scene.accused(stage, 2)
    evidence = accused.coordinate()
    send_challenge(scene.court, parties.auditor, contested, evidence, rule=stage.spec.rule)
    assert read() == kept()
    assert list(read()) == [1]
    stage.close(parties.standby)
    assert read() == kept()
    assert list(read()) == [1, 2]
