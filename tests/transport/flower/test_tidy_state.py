"""What a SuperLink still has of a question that has ended: nothing, whatever a node made of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from types import SimpleNamespace

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.serde import message_from_proto
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ObjectTree,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PushAppMessagesRequest
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.date import now
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.servicer.fleet import fleet_handlers
from flwr.superlink.servicer.runtime import runtime_handlers

from tests.attacks.superlink import Pushed
from wardround.transport.flower.identity import server_identity
from wardround.transport.flower.intake import (
    ConsistentStore,
    TidyState,
    forgetting,
    own_replies_only,
)

MODEL = RecordDict({"fields": ConfigRecord({"model": bytes(10_000)})})
ANSWER = RecordDict({"fields": ConfigRecord({"answer": 1})})


@dataclass
class Link:
    """Flower's handlers over our state, as a SuperLink has them."""

    state: TidyState
    run: int
    node: int
    task: SimpleNamespace
    store: ConsistentStore
    push: Callable[..., object] = field(
        default_factory=lambda: own_replies_only(fleet_handlers.push_messages)
    )
    confirm: Callable[..., object] = field(
        default_factory=lambda: forgetting(runtime_handlers.confirm_message_received)
    )

    def ask(self) -> Message:
        """Put a question to the node, and give it as the node has it."""
        with server_identity(self.run):
            asked = Pushed.of(Message(MODEL, self.node, "train"))
        request = PushAppMessagesRequest(
            messages_list=[asked.proto()], message_object_trees=[asked.tree]
        )
        answer = runtime_handlers.push_messages(request, self.state, self.task)
        for name in answer.objects_to_push:
            assert self.state.store_object(self.run, answer.session_id, name, asked.objects[name])
        pulled = fleet_handlers.pull_messages(
            PullMessagesRequest(node=Node(node_id=self.node)), self.state, self.store
        )
        return message_from_proto(pulled.messages_list[0])

    def answer(self, question: Message, objects: int | None = None) -> Pushed:
        """Announce an answer, and push some of its objects, or all."""
        pushed = Pushed.of(Message(ANSWER, reply_to=question))
        self.announce(pushed, objects)
        return pushed

    def announce(self, pushed: Pushed, objects: int | None = None) -> None:
        request = PushMessagesRequest(
            node=Node(node_id=self.node),
            messages_list=[pushed.proto()],
            message_object_trees=[pushed.tree],
        )
        answer = self.push(request, self.state)
        for name in list(pushed.objects)[:objects]:
            request = PushObjectRequest(
                node=Node(node_id=self.node),
                run_id=self.run,
                object_id=name,
                object_content=pushed.objects[name],
                session_id=answer.session_id,  # type: ignore[attr-defined]
            )
            fleet_handlers.push_object(request, self.state)

    def look(self, question: Message) -> list[str]:
        """Look for answers as the coordinator does, and give their names."""
        request = PullAppMessagesRequest(message_ids=[question.metadata.message_id])
        found = runtime_handlers.pull_messages(request, self.state, self.task)
        return [one.metadata.message_id for one in found.messages_list]

    def end(self, name: str) -> None:
        self.confirm(ConfirmMessageReceivedRequest(message_object_id=name), self.state, self.task)

    @property
    def kept(self) -> int:
        """How many things are kept, of whatever kind."""
        state = self.state
        return sum(
            map(
                len,
                (
                    *(state.message_ins_store, state.message_res_store, self.store.store),
                    *(state.message_ins_id_to_message_res_id, state._object_push_sessions),
                    *(state._object_push_session_by_root, *self.store.run_objects_mapping.values()),
                ),
            )
        )


@pytest.fixture
def link() -> Link:
    store = ConsistentStore()
    state = TidyState(NoOpFederationManager(), store)
    run = state.create_run(*("", "", "", {}, NOOP_FEDERATION_ID, None, "aid", TaskType.SERVER_APP))
    (about,) = state.get_run_info(run_ids=[run])
    assert about.primary_task_id is not None
    assert state.claim_task(about.primary_task_id) is not None
    assert state.activate_task(about.primary_task_id)
    node = state.create_node("aid", "name", b"key", 1800.0)
    assert state.activate_node(node, 1800.0)
    return Link(state, run, node, SimpleNamespace(run_id=run), store)


def test_question_when_it_is_answered_leaves_nothing(link: Link) -> None:
    question = link.ask()
    link.answer(question)
    assert link.kept > 0
    (answer,) = link.look(question)
    assert question.metadata.message_id not in link.store
    link.end(answer)
    assert link.kept == 0


def test_question_when_it_is_never_answered_leaves_nothing_once_it_has_ended(link: Link) -> None:
    question = link.ask()
    link.end(question.metadata.message_id)
    assert link.kept == 0


def test_answer_when_it_comes_too_late_leaves_nothing(link: Link) -> None:
    question = link.ask()
    link.end(question.metadata.message_id)
    link.answer(question)
    assert link.kept == 0


@pytest.mark.parametrize("objects", [0, 1])
def test_answer_when_its_upload_stops_leaves_nothing_once_it_has_ended(
    link: Link, objects: int
) -> None:
    question = link.ask()
    link.answer(question, objects)
    (answer,) = link.look(question)
    link.end(answer)
    assert link.kept == 0


def test_answer_when_a_second_one_is_announced_leaves_nothing(link: Link) -> None:
    question = link.ask()
    link.answer(question)
    other = Pushed.of(Message(MODEL, reply_to=question))
    link.announce(other, 0)
    (answer,) = link.look(question)
    link.end(answer)
    assert link.kept == 0


def test_announcement_when_it_is_refused_leaves_nothing(link: Link) -> None:
    question = link.ask()
    pushed = Pushed.of(Message(ANSWER, reply_to=question))
    good = sha256(b"below").hexdigest()
    pushed.tree = ObjectTree(object_id="bad", children=[ObjectTree(object_id=good)])
    pushed.message.metadata.__dict__["_message_id"] = "bad"
    with pytest.raises(ValueError, match="no name of an object"):
        link.announce(pushed)
    link.end(question.metadata.message_id)
    assert link.kept == 0


def test_state_when_an_upload_expires_beside_an_announcement_does_not_lock_up(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flower takes its two locks in one order here and in the other there."""
    first, second = link.ask(), link.ask()
    expiring = link.answer(first, 0)
    pushed, upload = Pushed.of(Message(ANSWER, reply_to=second)), link.state.start_session(link.run)

    def announce() -> None:
        link.state.store_message_and_object_tree(pushed.message, pushed.tree, upload)

    for session in link.state._object_push_sessions.values():
        session.expires_at = now() - timedelta(seconds=1)
    announcing, ended = threading.Event(), link.state._on_push_session_expired

    def slowly(names: set[str]) -> None:
        announcing.set()
        # As long as the other thread may need to take its first lock, if it can.
        threading.Event().wait(0.5)
        ended(names)

    monkeypatch.setattr(link.state, "_on_push_session_expired", slowly)
    missing = PullObjectRequest(run_id=link.run, object_id=expiring.tree.object_id)
    threads = [
        threading.Thread(target=fleet_handlers.pull_object, args=(missing, link.state), daemon=True)
    ]
    threads[0].start()
    assert announcing.wait(10)
    threads.append(threading.Thread(target=announce, daemon=True))
    threads[1].start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
