"""Questions to nodes that die, refuse and keep silent, over a real Grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from wardround.transport.flower import identity as flower
from wardround.transport.flower.grid import FIRST_NODE_ID, Availability, InProcessGrid
from wardround.transport.flower.messages import ErrorCode
from wardround_coordinator.exchange import LAST_POLL_SECONDS, Exchange

NODES = [FIRST_NODE_ID + place for place in range(3)]
BAD = NODES[0]
DEAD = Error(ErrorCode.NODE_UNAVAILABLE, "away")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def _server() -> Iterator[None]:
    with flower.server_identity(1):
        yield


def grid_where(answer: Callable[[int], Error | None], **options: Any) -> tuple[Any, Counter[int]]:
    """A grid whose bad node answers its nth question with an error, or well."""
    asked: Counter[int] = Counter()
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        asked[context.node_id] += 1
        error = answer(asked[BAD]) if context.node_id == BAD else None
        if error is not None:
            return Message(error, reply_to=message)
        return Message(RecordDict({"fields": ConfigRecord({"n": 1})}), reply_to=message)

    return InProcessGrid(app, [{} for _ in NODES], {}, **options), asked


def ask(grid: Any, retry_seconds: float, **options: Any) -> tuple[dict[int, Message], Clock]:
    clock = Clock()
    exchange = Exchange(grid, 600.0, retry_seconds, clock=clock, wait=clock.wait, **options)
    messages = [Message(RecordDict(), dst_node_id=node, message_type="query") for node in NODES]
    heard: dict[int, Message] = {}
    for reply in exchange.replies(messages):
        node = exchange.node(reply)
        assert node not in heard, "one reply a node"
        heard[node] = reply
    return heard, clock


def test_node_when_it_comes_back_in_time_is_heard() -> None:
    grid, asked = grid_where(lambda nth: DEAD if nth <= 4 else None)
    heard, clock = ask(grid, 60)
    assert not heard[BAD].has_error()
    assert asked == {BAD: 5, NODES[1]: 1, NODES[2]: 1}
    assert 0.25 + 0.5 + 1 + 2 <= clock.now < 8


def test_node_when_it_stays_away_is_given_up_with_its_error() -> None:
    grid, asked = grid_where(lambda nth: DEAD)
    heard, clock = ask(grid, 30)
    assert heard[BAD].error.code == ErrorCode.NODE_UNAVAILABLE
    # The last question may be due at the end of one pause, and its answer be seen after another.
    assert 20 < clock.now <= 30 + 2 * LAST_POLL_SECONDS
    assert 5 < asked[BAD] < 15


def test_node_when_it_refuses_is_asked_a_few_times_only() -> None:
    refusal = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "this study is not approved")
    grid, asked = grid_where(lambda nth: refusal)
    heard, clock = ask(grid, 600)
    assert heard[BAD].error.reason == refusal.reason
    assert asked[BAD] == 4
    assert clock.now < 5


def test_first_word_counts_when_nobody_is_asked_again() -> None:
    grid, asked = grid_where(lambda nth: DEAD)
    heard, clock = ask(grid, 0)
    assert heard[BAD].has_error()
    assert asked[BAD] == 1
    assert clock.now < 1


@pytest.mark.parametrize(("retry_seconds", "times"), [(10, 6), (20, 5), (3600, 5)])
def test_node_when_silent_is_asked_ever_less_often(retry_seconds: float, times: int) -> None:
    def availability(node: int, message: Message) -> Availability:
        return Availability.SILENT if node == BAD else Availability.ONLINE

    grid, _ = grid_where(lambda nth: None, availability=availability)
    pushed: list[int] = []
    inner = grid.push_messages

    def push(messages: Any) -> Any:
        sent = list(messages)
        pushed.extend(message.metadata.dst_node_id for message in sent)
        return inner(sent)

    grid.push_messages = push
    heard, clock = ask(grid, retry_seconds)
    assert BAD not in heard
    assert clock.now >= 600
    # After 10, 20, 40 ... 320 s, or after 20, 40 ... 320 s.
    assert Counter(pushed)[BAD] == 1 + times


def test_newcomer_answers_for_a_node_that_is_gone() -> None:
    grid, _ = grid_where(lambda nth: DEAD)
    late = NODES[2]

    def newcomers() -> list[Message]:
        return [Message(RecordDict(), dst_node_id=late, message_type="query")]

    clock = Clock()
    exchange = Exchange(grid, 60.0, 10.0, newcomers, clock=clock, wait=clock.wait)
    first = Message(RecordDict(), dst_node_id=BAD, message_type="query")
    replies = {exchange.node(reply): reply for reply in exchange.replies([first])}
    assert not replies[late].has_error()
