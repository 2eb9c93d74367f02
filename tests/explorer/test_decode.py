"""Events are read as eth_abi reads them, and anything else is refused."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from eth_abi import encode
from eth_utils import keccak
from eth_utils.abi import collapse_if_tuple

from wardround.chain.artifacts import load_artifact
from wardround.chain.contract import Contract, Log
from wardround.explorer.errors import ExplorerError
from wardround.explorer.index.decode import EventTable, RawLog

ADDRESS = "0x" + "12" * 20
OTHER = "0x" + "34" * 20
TABLE = EventTable({ADDRESS: "WardRound", OTHER: "Court"})
EVENTS = [
    (contract, item)
    for contract in ("WardRound", "Court")
    for item in load_artifact(contract).abi
    if item["type"] == "event" and item["inputs"]
]


def example(kind: str, item: Any, draw: random.Random) -> Any:
    if kind.endswith("[]"):
        return [example(kind[:-2], {**item, "type": kind[:-2]}, draw) for _ in range(3)]
    if kind == "tuple":
        return tuple(example(one["type"], one, draw) for one in item["components"])
    if kind == "address":
        return "0x" + draw.randbytes(20).hex()
    if kind == "bytes32":
        return draw.randbytes(32)
    if kind == "bytes":
        return draw.randbytes(41)
    if kind == "string":
        return "words"
    if kind == "bool":
        return draw.random() < 0.5
    bits = int(kind.removeprefix("u").removeprefix("int"))
    if kind.startswith("u"):
        return draw.getrandbits(bits)
    return draw.getrandbits(bits) - (1 << (bits - 1))


def raw_log(contract: str, item: Any, draw: random.Random) -> RawLog:
    types = [collapse_if_tuple(dict(one)) for one in item["inputs"]]
    values = [example(one["type"], one, draw) for one in item["inputs"]]
    topics = [keccak(text=f"{item['name']}({','.join(types)})")]
    others: tuple[list[str], list[Any]] = ([], [])
    for one, kind, value in zip(item["inputs"], types, values, strict=True):
        if one["indexed"]:
            topics.append(encode([kind], [value]))
        else:
            others[0].append(kind)
            others[1].append(value)
    address = ADDRESS if contract == "WardRound" else OTHER
    data = encode(*others)
    return RawLog(address, tuple(topics), data, 7, "0x" + "00" * 32, "0x" + "11" * 32, 0, 3)


def plain(value: Any) -> Any:
    """What `chain.contract` gives, in the index's spelling; wide and narrow integers alike."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, (tuple, list)):
        return [plain(one) for one in value]
    if isinstance(value, str):
        return value.lower()
    return int(value)


def spelled(value: Any) -> Any:
    if isinstance(value, dict):
        return [spelled(one) for one in value.values()]
    if isinstance(value, list):
        return [spelled(one) for one in value]
    if isinstance(value, str) and (value.isdigit() or value[1:].isdigit()):
        return int(value)
    return value


@pytest.mark.parametrize(("contract", "item"), EVENTS, ids=lambda one: str(one)[:30])
def test_events_are_read_as_the_ledger_reads_them(contract: str, item: Any) -> None:
    draw = random.Random(item["name"])
    for _ in range(5):
        log = raw_log(contract, item, draw)
        found = TABLE.decode(log)
        known = Contract(load_artifact(contract).abi, log.contract)
        address = known.address
        expected = known.event(Log(address, log.topics, log.data, 7, log.transaction_hash, 3))
        assert expected is not None
        assert found.name == expected[0]
        assert list(found.args) == list(expected[1])
        assert [spelled(one) for one in found.args.values()] == [
            plain(one) for one in expected[1].values()
        ]


@pytest.mark.parametrize(("contract", "item"), EVENTS, ids=lambda one: str(one)[:30])
def test_bytes_that_are_no_event_are_refused(contract: str, item: Any) -> None:
    log = raw_log(contract, item, random.Random(1))
    bad = [
        replace(log, topics=log.topics[:-1]) if len(log.topics) > 1 else None,
        replace(log, topics=(*log.topics, bytes(32))),
        replace(log, data=log.data + bytes(32)),
        replace(log, data=log.data[:-1]) if log.data else None,
    ]
    for one in bad:
        if one is not None:
            with pytest.raises(ExplorerError, match=r"^block 7, log 3: "):
                TABLE.decode(one)


def test_unknown_topics_and_none_at_all_are_refused() -> None:
    log = raw_log(*EVENTS[0], random.Random(1))
    for topics in ((), (bytes(32),), (b"", b"")):
        with pytest.raises(ExplorerError, match="has no event"):
            TABLE.decode(replace(log, topics=topics))


def test_addresses_of_more_than_20_bytes_are_refused() -> None:
    item = next(one for _, one in EVENTS if one["name"] == "SiteAdmitted")
    log = raw_log("WardRound", item, random.Random(1))
    topics = (*log.topics[:2], b"\1" + log.topics[2][1:])
    with pytest.raises(ExplorerError, match="more than 20 bytes"):
        TABLE.decode(replace(log, topics=topics))
