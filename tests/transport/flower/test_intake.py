"""What a SuperLink takes from nodes: their own replies, short, and trees that stay as they are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.server.superlink.linkstate import linkstate_factory
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME, TaskType
from flwr.supercore.corestate import in_memory_corestate
from flwr.supercore.date import now
from flwr.supercore.object_store import object_store_factory
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.servicer.fleet import fleet_handlers
from flwr.superlink.servicer.runtime import runtime_handlers

from tests.attacks.superlink import Nodes, Pushed, Refused, superlink_in
from wardround.transport.flower.identity import server_identity
from wardround.transport.flower.intake import (
    ANNOUNCED_MAX_BYTES,
    TASK_START_SECONDS,
    ConsistentStore,
    TidyState,
    guard_intake,
)
from wardround.transport.flower.replies import bounded

ANSWERED = RecordDict({"fields": ConfigRecord({"a": 1})})
LEVELS = 24


def name(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def tree(text: str, *children: ObjectTree) -> ObjectTree:
    return ObjectTree(object_id=name(text), children=children)


def doubling(levels: int) -> ObjectTree:
    """A tree in which each level is mentioned twice, the second time without its children."""
    found = tree("0")
    for level in range(1, levels):
        again = tree(f"{level - 1}")
        found = tree(f"{level}", tree(f"left {level}", found), tree(f"right {level}", again))
    return found


def test_tree_when_an_object_has_other_children_than_before_is_refused() -> None:
    store = ConsistentStore()
    store.preregister(1, tree("root", tree("a", tree("b"))))
    for other in (tree("more", tree("a")), tree("more", tree("a", tree("c")))):
        with pytest.raises(ValueError, match="other children than before"):
            store.preregister(1, other)
    with pytest.raises(ValueError, match="a child twice"):
        store.preregister(1, tree("more", tree("b"), tree("b")))
    assert store.preregister(1, tree("more", tree("a", tree("b")))) != []


def test_tree_when_few_bytes_describe_a_large_one_is_refused() -> None:
    sent = doubling(LEVELS)
    assert sent.ByteSize() < 20_000
    store = ConsistentStore()
    with pytest.raises(ValueError, match="other children than before"):
        store.preregister(1, sent)
    assert not store.store


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nodes, list[Message]]]:
    """Two nodes at a SuperLink, and a question to each."""
    folder = tmp_path_factory.mktemp("link")
    with superlink_in(folder) as link, link.served() as plain, link.nodes(2) as nodes:
        grid = bounded(plain, 28, folder)
        with server_identity(grid.run.run_id):
            grid.push_messages([Message(RecordDict(), node, "query") for node in nodes.ids])
        questions = [nodes.question(node) for node in nodes.ids]
        yield nodes, [question for question in questions if question is not None]


def refusal(nodes: Nodes, node: int, *pushed: Pushed) -> int:
    """The status with which a node's replies are refused."""
    request = PushMessagesRequest(
        node=Node(node_id=node),
        messages_list=[one.proto() for one in pushed],
        message_object_trees=[one.tree for one in pushed],
    )
    with pytest.raises(Refused) as refused:
        nodes.announce(node, request)
    return refused.value.status


def test_reply_when_it_is_not_the_nodes_own_is_refused(
    asked: tuple[Nodes, list[Message]],
) -> None:
    nodes, (first, second) = asked
    mine, other = nodes.ids
    reply = Pushed.of(Message(ANSWERED, reply_to=second))
    assert refusal(nodes, mine, reply) == 400
    assert refusal(nodes, mine, Pushed.of(Message(ANSWERED, reply_to=first)), reply) == 400
    assert refusal(nodes, mine) == 400
    with server_identity(first.metadata.run_id):
        instruction = Message(ANSWERED, other, "train")
    assert refusal(nodes, mine, Pushed.of(instruction)) == 400
    renamed = Pushed.of(Message(ANSWERED, reply_to=first))
    renamed.message.metadata.__dict__["_message_id"] = name("another")
    assert refusal(nodes, mine, renamed) == 400
    long = Message(Error(1, "x" * ANNOUNCED_MAX_BYTES), reply_to=first)
    assert refusal(nodes, mine, Pushed.of(long)) == 413


def test_superlink_when_a_tree_doubles_answers_the_others(
    asked: tuple[Nodes, list[Message]],
) -> None:
    nodes, (first, second) = asked
    mine, other = nodes.ids
    bomb = Pushed.of(Message(ANSWERED, reply_to=first))
    bomb.tree = ObjectTree(object_id=bomb.tree.object_id, children=[doubling(LEVELS)])
    assert refusal(nodes, mine, bomb) == 500
    answered = threading.Thread(
        target=nodes.push, args=(other, Pushed.of(Message(ANSWERED, reply_to=second)))
    )
    answered.start()
    answered.join(20)
    assert not answered.is_alive()


def test_superlink_when_it_starts_goes_by_what_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its task, too, has three minutes to start, on a machine that is slow."""
    for module, name in (
        (object_store_factory, "InMemoryObjectStore"),
        (fleet_handlers, "push_messages"),
        (linkstate_factory, "InMemoryLinkState"),
        (runtime_handlers, "confirm_message_received"),
        (in_memory_corestate, "HEARTBEAT_DEFAULT_INTERVAL"),
    ):
        # So that it is put back.
        monkeypatch.setattr(module, name, vars(module)[name])
    before = {fleet_handlers.push_messages, runtime_handlers.confirm_message_received}
    guard_intake()
    assert not {fleet_handlers.push_messages, runtime_handlers.confirm_message_received} & before
    stores = object_store_factory.ObjectStoreFactory(FLWR_IN_MEMORY_DB_NAME)
    states = linkstate_factory.LinkStateFactory(
        FLWR_IN_MEMORY_DB_NAME, NoOpFederationManager(), stores
    )
    state = states.state()
    assert isinstance(stores.store(), ConsistentStore)
    assert isinstance(state, TidyState)
    task = state.create_task(TaskType.SERVER_APP, 1)
    assert task is not None
    token = state.claim_task(task)
    assert token is not None
    later = now() + timedelta(seconds=TASK_START_SECONDS - 5)
    monkeypatch.setattr(in_memory_corestate, "now", lambda: later)
    assert state.get_task_by_token(token) is not None
