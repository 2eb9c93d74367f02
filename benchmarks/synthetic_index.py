"""An index of a million events without a chain that took a week: made up, but valid in every way.

The logs go through the same decoding and the same projection as a chain's; only blocks and hashes
are invented.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import chain, count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from eth_abi import encode
from eth_utils import keccak

from wardround.chain.artifacts import load_artifact
from wardround.chain.contract import Contract
from wardround.chain.headers import BlockHeader
from wardround.explorer.index.database import open_writer, set_meta, transaction
from wardround.explorer.index.decode import EventTable, RawLog
from wardround.explorer.index.follow import Follower
from wardround.explorer.index.node import Range
from wardround.protocol.identifiers import Digest, Root
from wardround.protocol.record import (
    PARAMS_ABI,
    RECORD_ABI,
    Record,
    Recording,
    RuleId,
    ScoringId,
    StudyParams,
    StudyParties,
)

WARD, COURT = "0x" + "aa" * 20, "0x" + "bb" * 20
SITES, ROUNDS = 100, 100
_BLOCKS_AT_ONCE = 50
_GENESIS_SECONDS = 1_700_000_000
_CONTRACT = Contract(load_artifact("WardRound").abi, WARD)


def fill(path: Path, events: int) -> int:
    """Fill a new index with at least so many events; return how many there are."""
    identity = {"chain_id": "1", "contract": WARD, "court": COURT}
    db = open_writer(path, identity)
    table = EventTable({WARD: "WardRound", COURT: "Court"})
    no_node: Any = SimpleNamespace(hashes_follow=None)  # nothing is asked of it
    follower = Follower(db, no_node, table, 0)
    made = closed = 0
    batch: list[tuple[BlockHeader, list[RawLog]]] = []
    blocks = _blocks()
    while made < events or closed % ROUNDS:
        header, logs = next(blocks)
        made += len(logs)
        closed += logs[-1].topics[0] == _topic("RoundClosed")
        batch.append((header, logs))
        if len(batch) == _BLOCKS_AT_ONCE:
            _take_in(follower, batch)
            batch = []
    if batch:
        _take_in(follower, batch)
    with transaction(db):
        set_meta(db, {"state": "following", "source": "made up", "confirmations": "12"})
    db.close()
    return made


def _take_in(follower: Follower, batch: list[tuple[BlockHeader, list[RawLog]]]) -> None:
    headers = [header for header, _ in batch]
    logs = [log for _, found in batch for log in found]
    follower.take_in(Range(headers, logs))


def _blocks() -> Iterator[tuple[BlockHeader, list[RawLog]]]:
    number, parent = 0, "0x" + "00" * 32
    for logs in chain.from_iterable(map(_study, count())):  # one study after the other, for ever
        name = "0x" + sha256(f"block {number}".encode()).hexdigest()
        sent = "0x" + sha256(f"transaction {number}".encode()).hexdigest()
        found = [
            RawLog(WARD, topics, data, number, name, sent, 0, place)
            for place, (topics, data) in enumerate(logs)
        ]
        yield BlockHeader(number, name, parent, _GENESIS_SECONDS + 12 * number, None, b""), found
        number, parent = number + 1, name


_Log = tuple[tuple[bytes, ...], bytes]


def made_params(
    sponsor: str,
    token: str,
    coordinator: str,
    *,
    reward_wei: int,
    rounds: int = ROUNDS,
    number: int = 0,
) -> StudyParams:
    """Parameters of a made-up study with full recording; other numbers give other studies."""
    return StudyParams(
        sponsor, token, reward_wei, 10, 1, 0, 0, rounds, 86_400, 3600, 3600, 600, 600, 600, 10**7,
        1, 0, Recording.FULL, False, RuleId.MEAN, 0, ScoringId.EXAMPLES, 1000, 2**24,
        Root(_hash("m0", number)), Digest(_hash("s", number)), Digest(_hash("code", number)),
        StudyParties.of([coordinator]).digest,
    )  # fmt: skip


def _study(number: int) -> Iterator[list[_Log]]:
    sponsor, token, coordinator = (_address(f"{one} {number}") for one in ("sponsor", "token", "c"))
    params = made_params(sponsor, token, coordinator, reward_wei=10**20, number=number)
    study = params.study_id
    kinds = ["address[]", "address[]"]
    body = encode([PARAMS_ABI, *kinds], [params.abi(), [coordinator], []])
    yield [((_topic("StudyCreated"), study, _word(sponsor)), body)]
    yield [((_topic("Funded"), study, _word(sponsor)), (10**22).to_bytes(32, "big"))]
    # The same sites in every study: what an auditor of one hospital has to go through.
    sites = [_address(f"site {place}") for place in range(SITES)]
    admitted = _topic("SiteAdmitted")
    yield [
        ((admitted, study, _word(site)), _word(site) + _number(1000) + _number(1)) for site in sites
    ]
    yield [((_topic("StudyOpened"), study, _word(coordinator)), _number(_GENESIS_SECONDS))]
    contributed, closed = _topic("Contributed"), _topic("RoundClosed")
    words = [_word(site) for site in sites]
    for turn in range(1, ROUNDS + 1):
        seed = _hash(f"round {turn}", number)
        logs: list[_Log] = [
            (
                (contributed, study, word),
                _number(turn) + sha256(seed + word).digest() + _number(100),
            )
            for word in words
        ]
        record = Record(
            Root(sha256(seed + b"c").digest()), Root(sha256(seed + b"m").digest()),
            Digest(sha256(seed + b"d").digest()), Root(sha256(seed + b"r").digest()),
            SITES, 100 * SITES,
        )  # fmt: skip
        data = encode([RECORD_ABI, "address", "uint64"], [record.abi(), coordinator, 1_700_000_000])
        logs.append(((closed, study, _number(turn)), data))
        yield logs


def _topic(name: str) -> bytes:
    return _CONTRACT.event_topic(name)


def _hash(words: str, number: int) -> bytes:
    return sha256(f"{words} {number}".encode()).digest()


def _address(words: str) -> str:
    return "0x" + keccak(text=words)[12:].hex()


def _word(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])


def _number(value: int) -> bytes:
    return value.to_bytes(32, "big")
