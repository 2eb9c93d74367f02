"""What a coordinator's SuperLink takes from nodes, and how long a task of it may take to start.

Flower lets a node send any message in another node's name. And its store in memory keeps what an
object's children are at the first mention, so that a few kilobytes of later ones make a tree of any
size, which the SuperLink builds while it holds its only lock.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
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
            ValueError: one has other children than before, or one child twice.
        """
        with self.lock_store:
            announced: dict[str, list[str]] = {}
            for one in iterate_object_tree(object_tree):
                children = [child.object_id for child in one.children]
                stored = self.store.get(one.object_id)
                known = children if stored is None else stored.child_object_ids
                if announced.setdefault(one.object_id, known) != children:
                    raise ValueError(f"object {one.object_id} has other children than before")
                if len(set(children)) != len(children):
                    raise ValueError(f"object {one.object_id} has a child twice")
            return super().preregister(run_id, object_tree)
