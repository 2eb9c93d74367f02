"""The courier at a hospital: its SuperNode names the home; key and rows are the guard's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from tests.client.guard.conftest import Ward, guarded
from wardround.protocol.fixed_point import vector_bytes
from wardround.protocol.messages import (
    FIELDS,
    VECTOR,
    VECTOR_DTYPE,
    VECTOR_FORMAT,
    Introduction,
    TrainReply,
    TrainTask,
)
from wardround.protocol.record import genesis_closing
from wardround.transport.flower.grid import FIRST_NODE_ID, InProcessGrid
from wardround.transport.flower.identity import server_identity
from wardround_client.app.client_app import app
from wardround_client.home import Home
from wardround_simulations.network import Network


def ask(ward: Ward, kind: str, task: TrainTask | None = None, change: int = 0) -> Message:
    content = RecordDict()
    if task is not None:
        data = vector_bytes(ward.asked.model + np.int32(change))
        base = Array(dtype=VECTOR_DTYPE, shape=(len(data) // 4,), stype=VECTOR_FORMAT, data=data)
        content[FIELDS] = ConfigRecord(task.fields())
        content[VECTOR] = ArrayRecord({VECTOR: base})
    with server_identity(1):
        grid = InProcessGrid(app, [{"site": str(ward.home.folder)}], {})
        (reply,) = grid.send_and_receive([Message(content, FIRST_NODE_ID, kind)])
    return reply


@pytest.fixture
def experienced_ward(later: Network, experienced: Home) -> Iterator[Ward]:
    """A hospital that may measure, since it had a part in the round before."""
    with guarded(later, experienced) as guard:
        yield Ward(later, experienced, guard)


def test_hospital_when_asked_who_it_is_says_so(ward: Ward) -> None:
    found = Introduction.parse(dict(ask(ward, "query").content.config_records[FIELDS]))
    party = ward.network.parties[0]
    assert (found.site, found.name) == (party.account.address, party.name)


def test_hospital_when_asked_to_train_answers_with_what_the_guard_signed(ward: Ward) -> None:
    reply = ask(ward, "train", ward.task)
    delivery = TrainReply.parse(dict(reply.content.config_records[FIELDS]))
    (line,) = ward.signed()
    assert line["signature"] == "0x" + delivery.entry.signature.hex()
    assert set(reply.content) == {FIELDS, VECTOR}


def test_hospital_when_asked_to_measure_answers_with_what_the_guard_released(
    experienced_ward: Ward,
) -> None:
    ward = experienced_ward
    reply = ask(ward, "evaluate", ward.task)
    (line,) = (line for line in ward.log() if line["kind"] == "released")
    assert set(reply.content) == {FIELDS}
    assert dict(reply.content.config_records[FIELDS]) == line["measures"]


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_hospital_when_it_refuses_gives_a_name_and_no_words(ward: Ward, kind: str) -> None:
    """Flower sends the words of an error, and a coordinator publishes them."""
    old = replace(ward.task, previous=genesis_closing(b"\x02" * 32))  # type: ignore[arg-type]
    reply = ask(ward, kind, old)
    assert reply.has_error()
    assert "base-model-wrong; the site's own log says more" in reply.error.reason
    assert "0x" not in reply.error.reason


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_hospital_when_its_table_is_wrong_tells_the_coordinator_nothing_of_it(
    experienced_ward: Ward, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ward = experienced_ward
    (ward.home.folder / "train.npz").write_bytes(b"Jane Doe")
    reply = ask(ward, kind, ward.task)
    assert reply.has_error()
    assert "table-unusable" in reply.error.reason
    for secret in ("train.npz", str(ward.home.folder), "Jane"):
        assert secret not in reply.error.reason
    # The administrator sees it all.
    assert "train.npz" in capfd.readouterr().err


def test_hospital_when_its_guard_is_away_says_so_by_name(ward: Ward, tmp_path: Path) -> None:
    with server_identity(1):
        grid = InProcessGrid(app, [{"site": str(tmp_path)}], {})
        (reply,) = grid.send_and_receive([Message(RecordDict(), FIRST_NODE_ID, "query")])
    assert "GuardUnreachable" in reply.error.reason
    assert str(tmp_path) not in reply.error.reason
