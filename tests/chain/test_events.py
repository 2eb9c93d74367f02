from __future__ import annotations

import re
from dataclasses import fields
from types import ModuleType

import pytest

from wardround.chain import court_events, events
from wardround.chain.artifacts import load_artifact

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
