"""A setup's document: what is signed, what is refused, and when it is complete."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
from eth_account import Account

from tests.protocol.masking import DOMAIN, VECTORS, read
from tests.vectors import masking as slow
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.contribution import Domain
from wardround.protocol.errors import Malformed, ProtocolError, SignatureInvalid, StudyMismatch
from wardround.protocol.identifiers import Root, StudyId, address_of
from wardround.protocol.masking.ratchet import SETS, ChainKey, holders_of
from wardround.protocol.masking.setup_document import (
    SETUP_MAX_BYTES,
    SETUP_TYPE,
    MaskSetup,
    SignedSetup,
    parse_setup,
)
from wardround.protocol.masking.streams import Segments

KEYS = [bytes([number]) * 32 for number in (1, 2, 3)]
HELPERS = tuple(address_of(Account.from_key(key).address) for key in KEYS)
SITE_KEY = bytes([9]) * 32
SITE = address_of(Account.from_key(SITE_KEY).address)
VECTOR = VECTORS["statements"]["MaskSetup"]


def setup_of(message: dict[str, Any]) -> MaskSetup:
    one, two, three = (Root(read(root)) for root in message["commitments"])
    pairs = [slow.sealed(which) for which in slow.SEALED]
    return MaskSetup(
        study=StudyId(read(message["study"])),
        site=address_of(message["site"]),
        epoch=message["epoch"],
        first_round=message["firstRound"],
        last_round=message["lastRound"],
        segments=message["segments"],
        helpers=(HELPERS[0], HELPERS[1], HELPERS[2]),
        commitments=(one, two, three),
        sealed=((pairs[0], pairs[1]), (pairs[2], pairs[3]), (pairs[4], pairs[5])),
    )


SETUP = setup_of(VECTOR["message"])


@pytest.fixture(scope="module")
def signed() -> SignedSetup:
    return SignedSetup(DOMAIN, SETUP, SETUP.sign(DOMAIN, SITE_KEY))


@pytest.fixture(scope="module")
def complete(signed: SignedSetup) -> SignedSetup:
    found = signed
    for helper, key in zip(HELPERS, KEYS, strict=True):
        assert not found.is_complete
        found = found.acknowledged(helper, SETUP.sign(DOMAIN, key))
    return found


def test_statement_is_that_of_the_vectors() -> None:
    assert VECTOR["type"] == SETUP_TYPE
    assert SETUP.digest == read(VECTOR["struct_hash"])
    assert SETUP.signing_digest(DOMAIN) == read(VECTOR["digest"])
    assert SETUP.sign(DOMAIN, SITE_KEY) == read(VECTOR["signature"])


@pytest.mark.parametrize(
    "change",
    [
        {"study": StudyId(bytes(32))},
        {"site": address_of("0x" + "77" * 20)},
        {"epoch": 2},
        {"first_round": 4},
        {"last_round": 21},
        {"segments": 976},
        {"helpers": (HELPERS[1], HELPERS[0], HELPERS[2])},
        {"commitments": (SETUP.commitments[0], SETUP.commitments[2], SETUP.commitments[1])},
        {"sealed": (SETUP.sealed[1], SETUP.sealed[0], SETUP.sealed[2])},
    ],
    ids=lambda change: str(*change),
)
def test_every_field_is_signed(change: dict[str, Any]) -> None:
    assert replace(SETUP, **change).digest != SETUP.digest


def test_document_is_read_as_it_was_written(signed: SignedSetup, complete: SignedSetup) -> None:
    for one in (signed, complete):
        assert parse_setup(one.encode()) == one
        one.check_signatures()
    assert len(complete.encode()) < SETUP_MAX_BYTES
    assert (signed.is_complete, complete.is_complete) == (False, True)
    assert signed.setup.digest == complete.setup.digest


def test_each_holder_finds_the_roots_of_its_two_sets() -> None:
    for place, helper in enumerate(HELPERS):
        held = SETUP.sealed_for(helper)
        assert set(held) == set(SETS) - {place}
        for number, sealed in held.items():
            assert sealed == SETUP.sealed[number][holders_of(number).index(place)]
    every = [sealed for helper in HELPERS for sealed in SETUP.sealed_for(helper).values()]
    assert sorted(every) == sorted(chain.from_iterable(SETUP.sealed))
    with pytest.raises(Malformed, match="none of its helpers"):
        SETUP.sealed_for(SITE)


def test_root_is_checked_by_its_commitment() -> None:
    """Two holders of a set that were given two roots: one of them does not acknowledge."""
    roots = [bytes([number]) * 32 for number in SETS]
    small = replace(SETUP, segments=2)
    keys = [ChainKey.first(roots[s], small.owner(DOMAIN, s), small.first_round) for s in SETS]
    one, two, three = (small.tree.commitment(key) for key in keys)
    small = replace(small, commitments=(one, two, three))
    for number in SETS:
        assert small.check_root(DOMAIN, number, roots[number]) == keys[number]
    for number, root in ((0, roots[1]), (1, roots[0]), (2, bytes(32))):
        with pytest.raises(Malformed, match="do not acknowledge"):
            small.check_root(DOMAIN, number, root)
    with pytest.raises(Malformed, match="do not acknowledge"):
        small.check_root(Domain(1, DOMAIN.contract), 0, roots[0])


def test_acknowledgement_of_another_party_is_refused(signed: SignedSetup) -> None:
    with pytest.raises(SignatureInvalid):
        signed.acknowledged(HELPERS[0], SETUP.sign(DOMAIN, KEYS[1]))
    with pytest.raises(SignatureInvalid):
        signed.acknowledged(HELPERS[0], replace(SETUP, epoch=2).sign(DOMAIN, KEYS[0]))
    with pytest.raises(SignatureInvalid):
        signed.acknowledged(HELPERS[0], SETUP.sign(Domain(1, DOMAIN.contract), KEYS[0]))
    with pytest.raises(Malformed, match="none of its helpers"):
        signed.acknowledged(SITE, signed.signature)


def test_signatures_that_do_not_hold_are_noticed(complete: SignedSetup) -> None:
    first, second, third = complete.acknowledgements
    for wrong in (
        replace(complete, signature=first),
        replace(complete, acknowledgements=(second, first, third)),
        replace(complete, acknowledgements=(None, None, first)),
        replace(complete, setup=replace(SETUP, epoch=2)),
        replace(complete, domain=Domain(1, DOMAIN.contract)),
    ):
        with pytest.raises(SignatureInvalid):
            wrong.check_signatures()


def test_terms_of_the_study_are_compared() -> None:
    study, helpers = SETUP.study, SETUP.helpers
    segments = Segments(1_000_000, 20)
    for number in (3, 20):
        SETUP.check_terms(study, helpers, segments, number)
    with pytest.raises(StudyMismatch, match="first round"):
        SETUP.check_terms(study, helpers, segments, 2)
    with pytest.raises(StudyMismatch, match="study of a mask setup"):
        SETUP.check_terms(StudyId(bytes(32)), helpers, segments, 3)
    with pytest.raises(StudyMismatch, match="helpers"):
        SETUP.check_terms(study, (helpers[1], helpers[0], helpers[2]), segments, 3)
    with pytest.raises(StudyMismatch, match="last round"):
        SETUP.check_terms(study, helpers, Segments(1_000_000, 21), 3)
    with pytest.raises(StudyMismatch, match="segments"):
        SETUP.check_terms(study, helpers, Segments(1_000, 20), 3)


@pytest.mark.parametrize(
    "change",
    [
        {"helpers": (HELPERS[0], HELPERS[0], HELPERS[2])},
        {"helpers": (HELPERS[0], SITE, HELPERS[2])},
        {"first_round": 21},
        {"first_round": 0},
        {"last_round": 2000},
        {"sealed": ((b"", b""), SETUP.sealed[1], SETUP.sealed[2])},
    ],
)
def test_setup_that_no_site_may_make_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        replace(SETUP, **change)


Damage = Callable[[dict[str, Any]], object]
DAMAGES: dict[str, Damage] = {
    "unknown key": lambda value: value.update(more=1),
    "missing key": lambda value: value.pop("epoch"),
    "other protocol": lambda value: value.update(protocol="wardround/1"),
    "two helpers": lambda value: value["helpers"].pop(),
    "four commitments": lambda value: value["commitments"].append(value["commitments"][0]),
    "one sealed root": lambda value: value["sealed"][1].pop(),
    "short sealed root": lambda value: value["sealed"][1].__setitem__(0, "0x00"),
    "capitals": lambda value: value["helpers"].__setitem__(0, HELPERS[0]),
    "helper twice": lambda value: value["helpers"].__setitem__(0, value["helpers"][1]),
    "no signature": lambda value: value.update(signature=None),
    "two acknowledgements": lambda value: value["acknowledgements"].pop(),
    "number as text": lambda value: value.update(epoch="0"),
    "round 0": lambda value: value.update(first_round=0),
    "too many segments": lambda value: value.update(segments=1025),
    "last before first": lambda value: value.update(last_round=2),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_other_forms_are_refused(complete: SignedSetup, damage: Damage) -> None:
    value = json.loads(complete.encode())
    damage(value)
    with pytest.raises(ProtocolError):
        parse_setup(canonical_bytes(value))


def test_longer_and_other_writing_is_refused(complete: SignedSetup) -> None:
    with pytest.raises(Malformed, match="exceed"):
        parse_setup(b"[" * (SETUP_MAX_BYTES + 1))
    with pytest.raises(Malformed, match="RFC 8785"):
        parse_setup(complete.encode() + b"\n")
