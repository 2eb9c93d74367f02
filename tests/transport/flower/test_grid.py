import threading
import time
import tracemalloc

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from wardround.transport.flower.grid import FIRST_NODE_ID, Availability, InProcessGrid
from wardround.transport.flower.identity import SERVER_NODE_ID
from wardround.transport.flower.messages import ErrorCode


def echo_app():
    app = ClientApp()

    @app.train()
    def train(message, context):
        return Message(message.content, reply_to=message)

    return app


def app_that(behave):
    app = ClientApp()
    app.train()(behave)
    return app


def request(node_id=FIRST_NODE_ID, content=None, **options):
    return Message(content or RecordDict(), node_id, "train", **options)


def vector(*values):
    return ArrayRecord({"v": Array(np.array(values, np.float32))})


def grid_of(app, nodes=3, run_config=None, **options):
    return InProcessGrid(app, [{}] * nodes, run_config or {}, **options)


def only(replies):
    (reply,) = replies
    return reply


def test_fedavg_averages_when_nothing_is_modified():
    def train(message, context):
        (value,) = message.content["arrays"].to_numpy_ndarrays()
        trained = ArrayRecord([value + context.node_config["partition-id"]])
        metrics = MetricRecord({"num-examples": 1 + context.node_config["partition-id"]})
        return Message(RecordDict({"arrays": trained, "metrics": metrics}), reply_to=message)

    grid = grid_of(app_that(train), nodes=3)
    strategy = FedAvg(fraction_evaluate=0.0, min_available_nodes=3)
    result = strategy.start(grid, ArrayRecord([np.zeros(2, np.float32)]), num_rounds=2)
    # Each round adds (1*0 + 2*1 + 3*2) / 6.
    np.testing.assert_allclose(result.arrays.to_numpy_ndarrays()[0], [16 / 6, 16 / 6], rtol=1e-6)


def test_context_reaches_the_node():
    seen = {}

    def train(message, context):
        seen[context.node_id] = (dict(context.node_config), dict(context.run_config))
        return Message(RecordDict(), reply_to=message)

    configs = [{"site": "a"}, {"site": "b", "partition-id": 7}]
    grid = InProcessGrid(app_that(train), configs, {"rate": 0.5})
    grid.send_and_receive([request(node) for node in grid.get_node_ids()])
    assert seen == {
        FIRST_NODE_ID: ({"partition-id": 0, "num-partitions": 2, "site": "a"}, {"rate": 0.5}),
        FIRST_NODE_ID + 1: ({"partition-id": 7, "num-partitions": 2, "site": "b"}, {"rate": 0.5}),
    }
    assert SERVER_NODE_ID not in grid.get_node_ids()
    assert [node.node_id for node in grid.get_nodes()] == grid.get_node_ids()


def test_state_lasts_between_calls_and_is_put_back_when_a_call_fails():
    def train(message, context: Context):
        count = context.state.get("count", MetricRecord({"n": 0}))["n"] + 1
        context.state["count"] = MetricRecord({"n": count})
        if "fail" in message.content:
            raise RuntimeError("after the state was changed")
        return Message(RecordDict({"count": MetricRecord({"n": count})}), reply_to=message)

    grid = grid_of(app_that(train))
    failing = RecordDict({"fail": ConfigRecord()})
    counts = [
        reply.content["count"]["n"] if reply.has_content() else None
        for content in (None, failing, None)
        for reply in grid.send_and_receive([request(content=content)])
    ]
    assert counts == [1, None, 2]
    assert grid.context(FIRST_NODE_ID).state["count"]["n"] == 2


def raising(error):
    def train(message, context):
        raise error

    return train


def from_another_node(message, context):
    message.metadata.dst_node_id += 1
    return Message(RecordDict(), reply_to=message)


def with_changed_run_config(message, context):
    context.run_config["rate"] = 1.0
    return Message(RecordDict(), reply_to=message)


@pytest.mark.parametrize(
    ("behave", "code", "reason"),
    [
        (
            raising(ValueError("no data")),
            ErrorCode.CLIENT_APP_RAISED_EXCEPTION,
            "ValueError: no da",
        ),
        (raising(SystemExit(3)), ErrorCode.CLIENT_APP_CRASHED, "SystemExit: 3"),
        (lambda message, context: None, ErrorCode.UNKNOWN, "returned NoneType, not a Message"),
        (lambda message, context: message, ErrorCode.UNKNOWN, "reply_to_message_id"),
        (from_another_node, ErrorCode.UNKNOWN, "not the node that was asked"),
        (with_changed_run_config, ErrorCode.UNKNOWN, "read-only"),
    ],
)
def test_bad_client_becomes_an_error_reply(behave, code, reason):
    grid = grid_of(app_that(behave))
    asked = request(group_id="4")
    reply = only(grid.send_and_receive([asked]))
    assert reply.has_error()
    assert reply.error.code == code
    assert reason in reply.error.reason
    assert reply.metadata.reply_to_message_id == asked.metadata.message_id
    assert (reply.metadata.src_node_id, reply.metadata.group_id) == (FIRST_NODE_ID, "4")


def test_unregistered_message_type_becomes_an_error_reply():
    reply = only(grid_of(echo_app()).send_and_receive([Message(RecordDict(), 2, "evaluate")]))
    assert "No evaluate function" in reply.error.reason


def test_one_bad_site_leaves_the_others_alone():
    def train(message, context):
        if context.node_config["partition-id"] == 1:
            raise RuntimeError("broken")
        return Message(RecordDict(), reply_to=message)

    grid = grid_of(app_that(train), nodes=3)
    replies = grid.send_and_receive([request(node) for node in grid.get_node_ids()])
    assert [reply.has_error() for reply in replies] == [False, True, False]


def test_client_cannot_change_what_the_server_holds():
    def train(message, context):
        message.content["model"]["v"].data = b"overwritten"
        message.content["config"]["sizes"].append(9)
        message.content["model"]["extra"] = message.content["model"]["v"]
        del message.content["config"]
        return Message(RecordDict(), reply_to=message)

    content = RecordDict({"model": vector(1, 2), "config": ConfigRecord({"sizes": [1, 2]})})
    grid = grid_of(app_that(train))
    messages = [request(node, content) for node in grid.get_node_ids()]
    replies = grid.send_and_receive(messages)  # all nodes share one content, as in FedAvg
    assert not any(reply.has_error() for reply in replies)
    np.testing.assert_array_equal(content["model"]["v"].numpy(), [1, 2])
    assert list(content["model"]) == ["v"]
    assert content["config"]["sizes"] == [1, 2]


def test_server_cannot_change_a_request_after_pushing_it():
    content = RecordDict({"model": vector(1)})
    content["model"]["v"].data = bytearray(content["model"]["v"].data)  # past Flower's type check
    grid = grid_of(echo_app())
    message_ids = grid.push_messages([request(content=content)])
    content["model"]["v"].data[-4:] = bytes(4)
    del content["model"]["v"]
    reply = only(grid.pull_messages(message_ids))
    np.testing.assert_array_equal(reply.content["model"]["v"].numpy(), [1])


def test_client_cannot_change_a_reply_after_sending_it():
    kept = []

    def train(message, context):
        kept.append(RecordDict({"model": vector(5)}))
        return Message(kept[-1], reply_to=message)

    reply = only(grid_of(app_that(train)).send_and_receive([request()]))
    payload = kept[0]["model"]["v"].data
    kept[0]["model"]["v"].data = b""
    assert reply.content["model"]["v"].data is payload, "bytes are shared, never copied"


def test_clients_run_only_when_their_reply_is_pulled():
    events = []

    def train(message, context):
        events.append(f"run {context.node_config['partition-id']}")
        return Message(RecordDict(), reply_to=message)

    grid = grid_of(app_that(train))
    pulled = grid.pull_messages(grid.push_messages([request(n) for n in grid.get_node_ids()]))
    assert events == []
    for reply in pulled:
        events.append(f"got {reply.metadata.src_node_id - FIRST_NODE_ID}")
    assert events == ["run 0", "got 0", "run 1", "got 1", "run 2", "got 2"]


def test_memory_does_not_grow_with_sites_when_replies_are_pulled():
    size = 1 << 20

    def train(message, context):
        data = message.content["model"]["v"].data[:-1] + b"\1"  # a new object a site
        array = Array("uint8", (size,), "raw", data)
        return Message(RecordDict({"model": ArrayRecord({"v": array})}), reply_to=message)

    def requests(grid):
        for node_id in grid.get_node_ids():
            array = Array("uint8", (size,), "raw", bytes(size))
            yield request(node_id, RecordDict({"model": ArrayRecord({"v": array})}))

    grid = grid_of(app_that(train), nodes=40)
    message_ids = grid.push_messages(requests(grid))
    tracemalloc.start()
    try:
        pushed_bytes = 40 * size
        total = sum(
            len(reply.content["model"]["v"].data) for reply in grid.pull_messages(message_ids)
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == pushed_bytes
    assert peak < 5 * size
    assert not grid._queue, "the requests are let go of as well"


def test_silent_node_replies_once_it_is_back():
    away = {FIRST_NODE_ID + 1}

    def availability(node_id, message):
        assert message.metadata.message_type == "train"
        return Availability.SILENT if node_id in away else Availability.ONLINE

    grid = grid_of(echo_app(), availability=availability)
    message_ids = grid.push_messages([request(node) for node in grid.get_node_ids()])
    first = list(grid.pull_messages(message_ids))
    assert [r.metadata.src_node_id - FIRST_NODE_ID for r in first] == [0, 2]
    away.clear()
    late = only(grid.pull_messages([message_ids[1]]))
    assert late.metadata.reply_to_message_id == message_ids[1]
    assert late.has_content()


def test_silent_node_is_not_waited_for():
    grid = grid_of(echo_app(), availability=lambda node_id, message: Availability.SILENT)
    assert grid.send_and_receive([request()], timeout=3600) == []
    assert not grid._queue


def test_unavailable_node_gives_flowers_error():
    grid = grid_of(echo_app(), availability=lambda node_id, message: Availability.UNAVAILABLE)
    asked = request()
    reply = only(grid.send_and_receive([asked]))
    assert reply.error.code == ErrorCode.NODE_UNAVAILABLE
    assert reply.metadata.reply_to_message_id == asked.metadata.message_id


def test_expired_or_unknown_request_gives_flowers_error():
    grid = grid_of(echo_app())
    message_ids = grid.push_messages([request(ttl=0.02)])
    time.sleep(0.03)
    for reply in grid.pull_messages([*message_ids, "never sent"]):
        assert reply.error.code == ErrorCode.MESSAGE_UNAVAILABLE


def test_a_reply_is_given_once():
    grid = grid_of(echo_app())
    message_ids = grid.push_messages([request()])
    assert only(grid.pull_messages(message_ids)).has_content()
    assert only(grid.pull_messages(message_ids)).error.code == ErrorCode.MESSAGE_UNAVAILABLE


def test_time_out_starts_no_further_client():
    def train(message, context):
        time.sleep(0.05)
        return Message(RecordDict(), reply_to=message)

    grid = grid_of(app_that(train), nodes=5)
    replies = grid.send_and_receive([request(n) for n in grid.get_node_ids()], timeout=0.06)
    assert 1 <= len(replies) < 5


def a_reply():
    asked = request()
    asked.metadata.__dict__["_message_id"] = "asked"
    return Message(RecordDict(), reply_to=asked)


def from_a_stranger():
    message = request()
    message.metadata.__dict__["_src_node_id"] = 99
    return message


def of_another_run():
    message = request()
    message.metadata.__dict__["_run_id"] = 99
    return message


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: request(node_id=999), "no node here"),
        (lambda: request(node_id=SERVER_NODE_ID), "no node here"),
        (lambda: request(ttl=-1.0), "ttl"),
        (a_reply, "reply_to_message_id"),
        (from_a_stranger, "src_node_id"),
        (of_another_run, "run_id"),
    ],
)
def test_message_is_refused_when_flower_would_refuse_it(make, reason):
    grid = grid_of(echo_app())
    with pytest.raises(ValueError, match=reason):
        grid.push_messages([make()])


def test_grid_is_refused_when_it_could_never_reply():
    with pytest.raises(ValueError, match="at least one node"):
        InProcessGrid(echo_app(), [], {})
    with pytest.raises(ValueError, match="workers is 0"):
        grid_of(echo_app(), workers=0)


def test_lifespan_and_mods_surround_each_call():
    events = []

    def mod(message, context, call_next):
        events.append("mod")
        return call_next(message, context)

    app = ClientApp()

    @app.lifespan()
    def lifespan(context):
        events.append("enter")
        yield
        events.append("leave")

    @app.train(mods=[mod])
    def train(message, context):
        events.append("train")
        return Message(RecordDict(), reply_to=message)

    grid_of(app).send_and_receive([request(), request()])
    assert events == ["enter", "mod", "train", "leave"] * 2


def test_progress_is_told_for_each_reply():
    told = []
    grid = grid_of(
        app_that(raising(ValueError())), nodes=2, on_reply=lambda *reply: told.append(reply)
    )
    grid.send_and_receive([request(node) for node in grid.get_node_ids()])
    assert [reply[:2] for reply in told] == [(2, "train"), (3, "train")]
    assert all(seconds > 0 for _, _, seconds in told)


@pytest.mark.parametrize("workers", [2, 4])
def test_threads_serve_every_message_and_no_node_twice_at_once(workers):
    lock = threading.Lock()
    busy: list[int] = []
    most = 0

    def train(message, context):
        nonlocal most
        with lock:
            assert context.node_id not in busy
            busy.append(context.node_id)
            most = max(most, len(busy))
        time.sleep(0.005)
        with lock:
            busy.remove(context.node_id)
        count = context.state.get("count", MetricRecord({"n": 0}))["n"] + 1
        context.state["count"] = MetricRecord({"n": count})
        return Message(RecordDict(), reply_to=message)

    grid = grid_of(app_that(train), nodes=3, workers=workers)
    message_ids = grid.push_messages([request(n) for n in grid.get_node_ids() * 6])
    replies = list(grid.pull_messages(message_ids))
    assert not any(reply.has_error() for reply in replies)
    assert {r.metadata.reply_to_message_id for r in replies} == set(message_ids)
    assert most >= 2
    assert [grid.context(n).state["count"]["n"] for n in grid.get_node_ids()] == [6, 6, 6]


def test_threads_leave_the_rest_queued_when_the_server_stops_early():
    grid = grid_of(echo_app(), nodes=8, workers=2)
    message_ids = grid.push_messages([request(n) for n in grid.get_node_ids()])
    pulled = grid.pull_messages(message_ids)
    next(pulled)
    pulled.close()
    assert len(grid._queue) == 6
