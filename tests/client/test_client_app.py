"""The ClientApp over a real grid: which site answers, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from tests.client.guard.conftest import asked_of
from wardround.protocol.errors import ScenarioError
from wardround.protocol.fixed_point import vector_bytes
from wardround.protocol.merkle import vector_root
from wardround.protocol.messages import (
    FIELDS,
    VECTOR,
    VECTOR_DTYPE,
    VECTOR_FORMAT,
    Introduction,
    Measured,
    TrainReply,
)
from wardround.transport.flower.grid import FIRST_NODE_ID, InProcessGrid
from wardround.transport.flower.identity import server_identity
from wardround_client.app.client_app import app, site_folder
from wardround_simulations.network import Network


def ask(network: Network, kind: str, content: RecordDict, node: int = 0) -> Message:
    config = {"network": str(network.folders.root)}
    with server_identity(1):
        grid = InProcessGrid(app, [{} for _ in network.parties], config)
        message = Message(content, FIRST_NODE_ID + node, kind)
        (reply,) = grid.send_and_receive([message])
    return reply


def request(network: Network, **changes: Any) -> RecordDict:
    asked = asked_of(network)
    data = vector_bytes(asked.model)
    base = Array(dtype=VECTOR_DTYPE, shape=(len(data) // 4,), stype=VECTOR_FORMAT, data=data)
    records: dict[str, Any] = {
        FIELDS: ConfigRecord(asked.task.fields()),
        VECTOR: ArrayRecord({VECTOR: base}),
    }
    return RecordDict({k: v for k, v in {**records, **changes}.items() if v is not None})


@pytest.mark.parametrize("node", [0, 1, 2])
def test_site_when_asked_who_it_is_says_so(network: Network, node: int) -> None:
    reply = ask(network, "query", RecordDict(), node)
    found = Introduction.parse(dict(reply.content.config_records[FIELDS]))
    party = network.parties[node]
    assert (found.site, found.name) == (party.account.address, party.name)


def test_site_when_asked_to_train_answers_with_its_update(network: Network) -> None:
    reply = ask(network, "train", request(network))
    delivery = TrainReply.parse(dict(reply.content.config_records[FIELDS]))
    array = reply.content.array_records[VECTOR][VECTOR]
    assert (array.dtype, array.stype) == (VECTOR_DTYPE, VECTOR_FORMAT)
    assert vector_root(array.data) == delivery.entry.update
    assert set(reply.content) == {FIELDS, VECTOR}, "nothing else leaves the site"


def test_site_when_asked_to_measure_sends_counts_alone(later: Network) -> None:
    reply = ask(later, "evaluate", request(later))
    assert set(reply.content) == {FIELDS}
    measured = Measured.parse(dict(reply.content.config_records[FIELDS]))
    assert sum(measured.counts) == len(later.parties[0].data.test)


def strange_array(**changes: Any) -> ArrayRecord:
    values: dict[str, Any] = {
        "dtype": VECTOR_DTYPE, "shape": (7,), "stype": VECTOR_FORMAT, "data": bytes(28),
    }  # fmt: skip
    return ArrayRecord({VECTOR: Array(**{**values, **changes})})


STRANGE: dict[str, dict[str, Any]] = {
    "no fields": {FIELDS: None},
    "no vector": {VECTOR: None},
    "a record more": {"more": MetricRecord({"a": 1})},
    "strange fields": {FIELDS: ConfigRecord({"round": 1})},
    "floats": {VECTOR: strange_array(dtype="<f4")},
    "a pickle": {VECTOR: ArrayRecord({VECTOR: Array(np.zeros(7, np.int32))})},
    "short": {VECTOR: strange_array(data=bytes(24))},
    "another base": {VECTOR: strange_array()},
}


@pytest.mark.parametrize("kind", ["train", "evaluate"])
@pytest.mark.parametrize("how", STRANGE)
def test_site_when_asked_strangely_answers_with_an_error_by_name(
    network: Network, kind: str, how: str
) -> None:
    reply = ask(network, kind, request(network, **STRANGE[how]))
    assert reply.has_error()
    found = re.search(r"([\w-]+); the site's own log says more", reply.error.reason)
    assert found is not None
    names = ("Malformed", "StudyMismatch", "ProtocolError", "KeyError", "base-model-wrong")
    assert found[1] in names


def context(network: object, partition: int) -> Context:
    return Context(1, 1, {"partition-id": partition}, RecordDict(), {"network": network})  # type: ignore[dict-item]


def test_folder_when_asked_for_is_the_partitions(network: Network) -> None:
    root = str(network.folders.root)
    found = [site_folder(context(root, place)).name for place in range(3)]
    assert found == sorted(party.name for party in network.parties)


def test_folder_when_no_network_is_named_says_what_to_do() -> None:
    with pytest.raises(ScenarioError, match="wardround simulate"):
        site_folder(context("", 0))


@pytest.mark.parametrize("partition", [3, -1])
def test_folder_when_there_is_no_such_partition_says_so(network: Network, partition: int) -> None:
    with pytest.raises(ScenarioError, match="3 sites"):
        site_folder(context(str(network.folders.root), partition))


def test_folder_when_the_network_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises((ScenarioError, OSError)):
        site_folder(context(str(tmp_path / "gone"), 0))
