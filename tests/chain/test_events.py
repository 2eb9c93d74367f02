from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from types import ModuleType

import pytest

from wardround.chain import court_events, events
from wardround.chain.artifacts import load_artifact
from wardround.chain.contract import Contract, Log
from wardround.chain.errors import ChainError

#: Read into a record of this library's own.
OTHERWISE = ("StudyCreated", "RoundClosed")
RENAMED = {"Funded": {"from": "payer"}, "TookOver": {"to": "coordinator", "from": "previous"}}


@pytest.mark.parametrize(("module", "artifact"), [(events, "WardRound"), (court_events, "Court")])
def test_event_classes_have_the_contracts_fields_in_its_order(
    module: ModuleType, artifact: str
) -> None:
    listed = {item["name"]: item for item in load_artifact(artifact).abi if item["type"] == "event"}
    read = {name: kind for name, kind in module._READERS.items() if name not in OTHERWISE}
    assert len(read) >= 5
    for name, kind in read.items():
        ours = [field.name for field in fields(kind) if field.name not in ("log", "name")]
        names = [field["name"] for field in listed[name]["inputs"]]
        renamed = [RENAMED.get(name, {}).get(one, one) for one in names]
        assert ours == [re.sub("[A-Z]", lambda m: "_" + m[0].lower(), one) for one in renamed]


@pytest.mark.parametrize(
    ("read", "artifact", "event", "words"),
    [
        (events.read_events, "WardRound", "RoundClosed", 1),
        (events.read_events, "WardRound", "StudyCreated", 40),
        (court_events.read_court_events, "Court", "Demanded", 1),
    ],
)
def test_log_that_the_contract_cannot_have_written_is_refused_by_name(
    read: Callable[[Contract, list[Log]], object], artifact: str, event: str, words: int
) -> None:
    """A node may answer what it likes: a length that is none, a rule that there is not."""
    contract = Contract(load_artifact(artifact).abi, "0x" + "12" * 20)
    topics = (contract.event_topic(event), *(bytes(31) + b"\1" for _ in range(3)))
    for data in (bytes(32 * words), b"\xff" * 32 * words):
        for count in (1, 2, 3, 4):
            log = Log(contract.address, topics[:count], data, 1, "0x" + "34" * 32, 0)
            with pytest.raises(ChainError, match="use another endpoint"):
                read(contract, [log])
