from __future__ import annotations

import os
from dataclasses import replace

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils import keccak
from hypothesis import given
from hypothesis import strategies as st

from wardround.protocol.contribution import (
    ENTRY_BYTES,
    WEIGHT_LIMIT,
    Contribution,
    Domain,
    Entry,
    contributions_root,
    pack_entries,
    sort_entries,
    total_weight,
    unpack_entries,
)
from wardround.protocol.errors import Malformed, ProtocolError, SignatureInvalid
from wardround.protocol.merkle import entries_root

word = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=20, max_size=20).map(lambda b: Account.from_key(keccak(b)).address)
contributions = st.builds(
    Contribution,
    study=word,
    round=st.integers(1, 2**32 - 1),
    base_model=word,
    site=addresses,
    update=word,
    weight=st.integers(1, 2**64 - 1),
    report=word,
)
domains = st.builds(Domain, chain_id=st.integers(1, 2**63), contract=addresses)


@given(contributions, domains)
def test_digest_is_eth_accounts(contribution: Contribution, domain: Domain) -> None:
    typed = encode_typed_data(
        domain_data={
            "name": "wardround",
            "version": "2",
            "chainId": domain.chain_id,
            "verifyingContract": domain.contract,
        },
        message_types={
            "Contribution": [
                {"name": "study", "type": "bytes32"},
                {"name": "round", "type": "uint32"},
                {"name": "baseModel", "type": "bytes32"},
                {"name": "site", "type": "address"},
                {"name": "update", "type": "bytes32"},
                {"name": "weight", "type": "uint64"},
                {"name": "report", "type": "bytes32"},
            ]
        },
        message_data={
            "study": contribution.study,
            "round": contribution.round,
            "baseModel": contribution.base_model,
            "site": contribution.site,
            "update": contribution.update,
            "weight": contribution.weight,
            "report": contribution.report,
        },
    )
    expected = keccak(b"\x19" + typed.version + typed.header + typed.body)
    assert contribution.signing_digest(domain) == expected


@pytest.fixture
def signed() -> tuple[Contribution, Domain, bytes]:
    account = Account.create()
    domain = Domain(31337, Account.create().address)
    contribution = Contribution(
        os.urandom(32), 3, os.urandom(32), account.address, os.urandom(32), 17, os.urandom(32)
    )
    return contribution, domain, contribution.sign(domain, account.key)


def test_a_sites_own_signature_is_accepted(signed: tuple[Contribution, Domain, bytes]) -> None:
    contribution, domain, signature = signed
    assert len(signature) == 65
    contribution.check_signature(domain, signature)


def test_any_other_statement_is_refused(signed: tuple[Contribution, Domain, bytes]) -> None:
    contribution, domain, signature = signed
    other = bytes(32)
    for change in (
        {"study": other},
        {"round": 4},
        {"base_model": other},
        {"update": other},
        {"weight": 18},
        {"report": other},
        {"site": Account.create().address},
    ):
        with pytest.raises(SignatureInvalid):
            replace(contribution, **change).check_signature(domain, signature)
    for elsewhere in (Domain(1, domain.contract), Domain(31337, Account.create().address)):
        with pytest.raises(SignatureInvalid):
            contribution.check_signature(elsewhere, signature)


def test_every_flipped_byte_of_a_signature_is_refused(
    signed: tuple[Contribution, Domain, bytes],
) -> None:
    contribution, domain, signature = signed
    for place in range(65):
        broken = bytearray(signature)
        broken[place] ^= 1
        with pytest.raises(SignatureInvalid):
            contribution.check_signature(domain, bytes(broken))


def test_high_s_and_odd_lengths_are_refused(signed: tuple[Contribution, Domain, bytes]) -> None:
    contribution, domain, signature = signed
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    s = order - int.from_bytes(signature[32:64], "big")
    mirrored = signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])
    for bad in (mirrored, signature[:64], signature + b"\0", b"", bytes(65)):
        with pytest.raises(SignatureInvalid):
            contribution.check_signature(domain, bad)


entries = st.builds(
    Entry,
    site=addresses,
    weight=st.integers(1, 1000),
    update=word,
    report=word,
    signature=st.binary(min_size=65, max_size=65),
)


@given(st.lists(entries, max_size=6, unique_by=lambda e: e.site))
def test_entries_pack_and_unpack(rows: list[Entry]) -> None:
    ordered = sort_entries(rows)
    data = pack_entries(ordered)
    assert len(data) == ENTRY_BYTES * len(rows)
    assert unpack_entries(data) == ordered
    assert contributions_root(ordered) == entries_root(entry.pack() for entry in ordered)


@given(entries)
def test_the_same_site_twice_is_refused(entry: Entry) -> None:
    with pytest.raises(Malformed):
        sort_entries([entry, replace(entry, weight=entry.weight + 1)])


def test_cut_entries_are_refused() -> None:
    with pytest.raises(Malformed):
        unpack_entries(bytes(ENTRY_BYTES + 1))
    with pytest.raises(Malformed):
        Entry.unpack(bytes(ENTRY_BYTES - 1))


@given(entries)
def test_weights_add_up_below_the_limit(entry: Entry) -> None:
    assert total_weight([entry]) == entry.weight
    for weights in ([0], [WEIGHT_LIMIT], [WEIGHT_LIMIT - 1, 1]):
        with pytest.raises(ProtocolError):
            total_weight([replace(entry, weight=weight) for weight in weights])
