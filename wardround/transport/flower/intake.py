"""What a coordinator's SuperLink takes from nodes, and how long a task of it may take to start.

Flower lets a node send any message in another node's name. And its store in memory keeps what an
object's children are at the first mention, so that a few kilobytes of later ones make a tree of any
size, which the SuperLink builds while it holds its only lock. It also keeps, until the run ends,
every question without an answer, answers that come too late, and a list of what each upload still
owes: a node that takes no model, or announces much and sends nothing, would fill the memory.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from flwr.app import Message
from flwr.proto.message_pb2 import ObjectTree
from flwr.server.superlink.linkstate.in_memory_linkstate import InMemoryLinkState
from flwr.supercore.inflatable.inflatable_object import (
    is_valid_sha256_hash,
    iterate_object_tree,
)
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from starlette.exceptions import HTTPException

#: A reply without its objects: their names, or an error. The coordinator asks for 64 at once.
ANNOUNCED_MAX_BYTES = 256_000
#: From the claim of a task to its first word. A ServerApp has half a minute with Flower, and took
#: longer to be imported on a machine with twelve times the work it has cores for.
TASK_START_SECONDS = 180


def guard_intake() -> None:
    """Change this process's Flower, before its SuperLink starts."""
    factory = importlib.import_module("flwr.supercore.object_store.object_store_factory")
    vars(factory)["InMemoryObjectStore"] = ConsistentStore
    handlers = importlib.import_module("flwr.superlink.servicer.fleet.fleet_handlers")
    vars(handlers)["push_messages"] = own_replies_only(vars(handlers)["push_messages"])
    states = importlib.import_module("flwr.server.superlink.linkstate.linkstate_factory")
    vars(states)["InMemoryLinkState"] = TidyState
    runtime = importlib.import_module("flwr.superlink.servicer.runtime.runtime_handlers")
    vars(runtime)["confirm_message_received"] = forgetting(
        vars(runtime)["confirm_message_received"]
    )
    state = importlib.import_module("flwr.supercore.corestate.in_memory_corestate")
    vars(state)["HEARTBEAT_DEFAULT_INTERVAL"] = TASK_START_SECONDS


def own_replies_only(push: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Take from a node only its own replies, one at a time, short, under their objects' names.

    Args:
        push: Flower's handler of a node's message; takes request and state.
    """

    def checked(request: Any, state: Any) -> Any:
        if request.ByteSize() > ANNOUNCED_MAX_BYTES:
            raise HTTPException(413, f"a reply is announced in {ANNOUNCED_MAX_BYTES:,} bytes")
        messages, trees = request.messages_list, request.message_object_trees
        if len(messages) != 1 or len(trees) != 1:
            raise HTTPException(400, "one message at a time")
        about = messages[0].metadata
        if not about.reply_to_message_id or about.src_node_id != request.node.node_id:
            raise HTTPException(400, "a node sends its own replies, and nothing else")
        if about.message_id != trees[0].object_id:
            raise HTTPException(400, "the message is not the object that is announced")
        return push(request, state)

    return checked


class ConsistentStore(InMemoryObjectStore):
    """Flower's store in memory, in which an object has the same children at every mention.

    So a tree that is built of it is never larger than one that was sent.
    """

    def preregister(self, run_id: int, object_tree: ObjectTree) -> list[str]:
        """Take note of objects that are to come.

        Raises:
            ValueError: one has other children than before, one child twice, or no good name.
        """
        with self.lock_store:
            announced: dict[str, list[str]] = {}
            for one in iterate_object_tree(object_tree):
                # Before the first is noted: what lies below a bad name would stay for ever.
                if not is_valid_sha256_hash(one.object_id):
                    raise ValueError(f"{one.object_id[:80]!r} is no name of an object")
                children = [child.object_id for child in one.children]
                stored = self.store.get(one.object_id)
                known = children if stored is None else stored.child_object_ids
                if announced.setdefault(one.object_id, known) != children:
                    raise ValueError(f"object {one.object_id} has other children than before")
                if len(set(children)) != len(children):
                    raise ValueError(f"object {one.object_id} has a child twice")
            return super().preregister(run_id, object_tree)


class TidyState(InMemoryLinkState):
    """Flower's state in memory, which keeps nothing of a question that has ended."""

    def delete_messages(self, message_ins_ids: set[str]) -> None:
        """Delete questions and the answers to them, and the objects of the questions.

        Args:
            message_ins_ids: of questions; unknown ones are passed over.
        """
        super().delete_messages(message_ins_ids)
        for one in message_ins_ids:
            self.object_store.delete(one)

    def store_message_and_object_tree(
        self, message: Message, object_tree: ObjectTree, session_id: str
    ) -> tuple[bool, list[str]]:
        """Store a message, and end the upload of an answer that has nothing to upload.

        Returns:
            Whether the message is stored, and the names of the objects that are missing.
        Raises:
            ValueError: the tree is refused.
        """
        missing: list[str] = []
        try:
            stored, missing = super().store_message_and_object_tree(
                message, object_tree, session_id
            )
            return stored, missing
        finally:
            # A node's upload is of one answer; the coordinator's is of many questions.
            if message.metadata.reply_to_message_id and not missing:
                self._cleanup_push_session(session_id, cleanup_messages=False)

    # The next two may end an expired upload, which takes both locks: Flower takes them the other
    # way round where it stores a message, and two threads could wait for each other for ever.

    def get_object(self, run_id: int, object_id: str) -> bytes | None:
        """Read an object; None where there is none, nothing where it has not come yet."""
        with self.lock:
            return super().get_object(run_id, object_id)

    def store_object(
        self, run_id: int, session_id: str, object_id: str, object_content: bytes
    ) -> bool:
        """Store an object that an upload owes.

        Returns:
            Whether it is stored.
        """
        with self.lock:
            return super().store_object(run_id, session_id, object_id, object_content)

    def forget(self, name: str) -> None:
        """Delete a question, answered or not, or what an answer still owes of its upload.

        Args:
            name: of the question, or of the answer.
        """
        self.delete_messages({name})
        with self._lock_object_push_sessions:
            session = self._object_push_session_by_root.get(name)
            if session is not None:
                self._cleanup_push_session(session, cleanup_messages=False)


def forgetting(confirm: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """Let the coordinator end a question, as it ends an answer that it has taken.

    Args:
        confirm: Flower's handler, which deletes a message's objects; takes request, state and task.
    """

    def confirmed(request: Any, state: Any, task: Any) -> Any:
        state.forget(request.message_object_id)
        return confirm(request, state, task)

    return confirmed
