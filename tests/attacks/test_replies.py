"""One site's reply is a bomb, is garbage, or never comes: the coordinator hears the other sites.

The coordinator's grid pulls the replies, from a SuperLink that has what three sites pushed. The
first site is hostile: it knows Flower's format and owns its node.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedResponse,
    PullObjectResponse,
    PushObjectResponse,
)
from flwr.proto.runtime_pb2 import PullAppMessagesResponse, PushAppMessagesResponse
from flwr.supercore.inflatable.inflatable_object import (
    add_header_to_object_body,
    get_all_nested_objects,
    get_object_tree,
)
from flwr.superlink.grid.http_grid import HttpGrid

from wardround.protocol.messages import FIELDS, VECTOR, VECTOR_DTYPE, VECTOR_FORMAT
from wardround.transport.errors import TransportError
from wardround.transport.flower.identity import Run, server_identity
from wardround.transport.flower.messages import REFUSED
from wardround.transport.flower.replies import BoundedGrid
from wardround_coordinator.exchange import Exchange

HOSTILE, HONEST = 1, (2, 3)
RUN = 1
PARAMETERS = 31
REPLY_SECONDS = 1.0
#: What an exchange may take beyond its time: a few polls on a busy machine.
GRACE_SECONDS = 4.0


def content(vector: Array | None = None, fields: type[ConfigRecord] = ConfigRecord) -> RecordDict:
    data = np.arange(PARAMETERS, dtype=VECTOR_DTYPE).tobytes()
    vector = vector or Array(VECTOR_DTYPE, (PARAMETERS,), VECTOR_FORMAT, data)
    arrays = ArrayRecord()
    arrays[VECTOR] = vector  # not through the constructor, which copies
    return RecordDict({FIELDS: fields({"a": 1}), VECTOR: arrays})


def own() -> RecordDict:
    """Content that shares no object with an honest site's."""
    data = np.full(PARAMETERS, 7, dtype=VECTOR_DTYPE).tobytes()
    whole = content(Array(VECTOR_DTYPE, (PARAMETERS,), VECTOR_FORMAT, data))
    whole[FIELDS] = ConfigRecord({"a": 2})
    return whole


@dataclass
class SuperLink:
    """Answers the grid as a SuperLink does, from what each node pushed.

    Attributes:
        pushed: content by node.
        silent: nodes that announce a reply and never push its objects.
        mute: nodes that announce none.
        ended: what the grid let go of.
        over: set when no more objects will come, which a real SuperLink reports much later.
        changes: what becomes of an object of the hostile node: by kind, header and body.
        refuses: raised where an object of the hostile node is asked for.
        error: what the hostile node answers in place of content.
        loses: raised where replies are asked for.
        pulled: names of objects that were asked for.
    """

    pushed: dict[int, RecordDict]
    silent: tuple[int, ...] = ()
    mute: tuple[int, ...] = ()
    ended: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    changes: dict[str, Callable[[bytes, bytes], bytes]] = field(default_factory=dict)
    refuses: Exception | None = None
    error: Error | None = None
    loses: Exception | None = None
    pulled: list[str] = field(default_factory=list)
    sent_bytes: int = 0
    _hostile: set[str] = field(default_factory=set)
    _asked: dict[str, Message] = field(default_factory=dict)
    _objects: dict[str, bytes | None] = field(default_factory=dict)

    def PushMessages(self, request: Any) -> PushAppMessagesResponse:
        names = []
        for one in request.messages_list:
            question = Message(RecordDict(), one.metadata.dst_node_id, one.metadata.message_type)
            name = f"question-{len(self._asked)}-{len(names)}"
            question.metadata.__dict__ |= {"_message_id": name, "_run_id": RUN}
            self._asked[name] = question
            names.append(name)
        return PushAppMessagesResponse(message_ids=names, session_id="session")

    def PushObject(self, _: Any) -> PushObjectResponse:
        return PushObjectResponse(stored=True)

    def PullMessages(self, request: Any) -> PullAppMessagesResponse:
        if self.loses is not None:
            raise self.loses
        messages, trees = [], []
        for name in request.message_ids:
            if self._asked[name].metadata.dst_node_id in self.mute:
                continue
            question = self._asked.pop(name)
            node = question.metadata.dst_node_id
            reply = Message(self.pushed[node], reply_to=question)
            if node == HOSTILE and self.error is not None:
                reply = Message(self.error, reply_to=question)
            trees.append(get_object_tree(reply))
            objects = {
                key: None if node in self.silent else one.deflate()
                for key, one in get_all_nested_objects(reply).items()
            }
            if node == HOSTILE:
                self.sent_bytes += sum(len(data) for data in objects.values() if data)
                self._hostile = set(objects) - set(self._objects)
                objects = {key: self._changed(data) for key, data in objects.items()}
            for key, data in objects.items():
                # Equal objects are one, whichever node has pushed it.
                self._objects[key] = data or self._objects.get(key)
            reply.metadata.__dict__["_message_id"] = reply.object_id
            messages.append(message_to_proto(reply))
        return PullAppMessagesResponse(messages_list=messages, message_object_trees=trees)

    def _changed(self, data: bytes | None) -> bytes | None:
        if data is None:
            return None
        header, body = data.split(b"\0", 1)
        kind, rest = header.split(b" ", 1)
        change = self.changes.get(kind.decode())
        return data if change is None else kind + b" " + change(rest, body)

    def PullObject(self, request: Any) -> PullObjectResponse:
        self.pulled.append(request.object_id)
        if self.refuses is not None and request.object_id in self._hostile:
            raise self.refuses
        data = self._objects.get(request.object_id)
        if data is None:
            found = not self.over.is_set()
            return PullObjectResponse(object_found=found, object_available=False)
        return PullObjectResponse(object_found=True, object_available=True, object_content=data)

    def ConfirmMessageReceived(self, request: Any) -> ConfirmMessageReceivedResponse:
        self.ended.append(request.message_object_id)
        return ConfirmMessageReceivedResponse()

    # It has no news to give.
    _base_url = "http://superlink"
    _client = httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(404)))


def grid_at(link: SuperLink) -> BoundedGrid:
    """The coordinator's grid."""
    grid = HttpGrid(token="none")
    grid.set_run(Run.create_empty(RUN))
    grid._client = link  # type: ignore[assignment]
    vector_bytes = PARAMETERS * np.dtype(VECTOR_DTYPE).itemsize
    return BoundedGrid(grid, vector_bytes, Path(tempfile.gettempdir()))


def exchange(link: SuperLink) -> Iterator[tuple[int, Message]]:
    """Ask the three nodes, through the coordinator's grid, and yield each reply with its node."""
    grid = grid_at(link)
    asked = Exchange(grid, reply_seconds=REPLY_SECONDS, retry_seconds=0)
    with server_identity(RUN):
        questions = [Message(RecordDict(), node, "train") for node in (HOSTILE, *HONEST)]
        for reply in asked.replies(questions):
            yield asked.node(reply), reply


def answered(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "http://superlink")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(status))


def heard(link: SuperLink) -> dict[int, Message]:
    """The reply of each node; those of the honest ones are good."""
    replies = dict(exchange(link))
    assert {node for node, reply in replies.items() if not reply.has_error()} >= set(HONEST)
    return replies


def good(replies: Iterator[tuple[int, Message]]) -> set[int]:
    return {node for node, reply in replies if not reply.has_error()}


def test_replies_when_all_sites_are_honest_all_arrive() -> None:
    """The stand-in for a SuperLink carries replies as a real one does."""
    link = SuperLink(dict.fromkeys((HOSTILE, *HONEST), content()))
    for _, reply in exchange(link):
        assert reply.content[VECTOR][VECTOR].shape == (PARAMETERS,)
    assert good(exchange(link)) == {HOSTILE, *HONEST}


def body(data: bytes, children: str = "") -> Callable[[bytes, bytes], bytes]:
    """An object's header and body in place of its own."""
    return lambda header, _: f"{children} {len(data)}".encode() + b"\0" + data


def longer(count: int) -> Callable[[bytes, bytes], bytes]:
    """Its own body, with so many bytes more, or less."""

    def changed(header: bytes, old: bytes) -> bytes:
        new = old + bytes(count) if count > 0 else old[:count]
        return header.split(b" ")[0] + f" {len(new)}".encode() + b"\0" + new

    return changed


def listed(document: object) -> Callable[[bytes, bytes], bytes]:
    return body(json.dumps(document).encode())


def vector_of(**other: object) -> Callable[[bytes, bytes], bytes]:
    """The description of a vector, otherwise good."""

    def changed(header: bytes, old: bytes) -> bytes:
        new = json.dumps({**json.loads(old), **other}).encode()
        return header.split(b" ")[0] + f" {len(new)}".encode() + b"\0" + new

    return changed


#: A name of an object, and one of another kind.
_NAME, _PATH = "a" * 64, "../" * 21 + "a"
_LARGE = ConfigRecord({"a": bytes(200_000)}).deflate().split(b"\0", 1)[1]


@pytest.mark.parametrize(
    ("kind", "change", "word", "evidence"),
    [
        ("Message", body(b"{}", f"{_NAME},{'b' * 64}"), "malformed", "no content, or several"),
        ("Message", body(b"{}"), "malformed", "no content, or several"),
        ("RecordDict", listed({str(one): _NAME for one in range(3)}), "malformed", "records"),
        ("RecordDict", listed({"other": _NAME}), "malformed", "a record 'other'"),
        ("RecordDict", listed({FIELDS: _PATH}), "malformed", "does not decode"),
        ("RecordDict", listed([_NAME]), "malformed", "does not decode"),
        ("RecordDict", body(b"[" * 40_000), "malformed", "does not decode"),
        ("RecordDict", body(b" " * 100_000 + b"{}"), "malformed", "an object of 100"),
        ("ConfigRecord", body(_LARGE), "malformed", "an object of 200"),
        ("ArrayRecord", listed({"other": _NAME}), "malformed", "not exactly one vector"),
        ("ArrayRecord", listed({}), "malformed", "not exactly one vector"),
        ("ArrayRecord", listed({VECTOR: _NAME, "b": _NAME}), "malformed", "not exactly one vector"),
        ("Array", vector_of(dtype="<f4"), "malformed", "in another form"),
        ("Array", vector_of(stype="pickle"), "malformed", "in another form"),
        ("Array", vector_of(arraychunk_ids=[]), "length", "0 bytes where 124 belong"),
        ("Array", vector_of(arraychunk_ids=[1]), "malformed", "does not decode"),
        ("Array", vector_of(arraychunk_ids=[0] * 1000), "length", "1000 chunks"),
        ("ArrayChunk", longer(1), "length", "more than the 124 bytes"),
        ("ArrayChunk", longer(-1), "length", "123 bytes where 124 belong"),
        ("ArrayChunk", longer(32_000_000), "malformed", "an object of 320001"),
    ],
)
def test_reply_when_one_object_is_beyond_its_bound_is_refused_by_name(
    kind: str, change: Callable[[bytes, bytes], bytes], word: str, evidence: str
) -> None:
    link = SuperLink({node: content() for node in HONEST} | {HOSTILE: own()})
    link.changes = {kind: change}
    error = heard(link)[HOSTILE].error
    assert error.code == REFUSED[word]
    assert evidence in (error.reason or "")
    # Nothing is asked for but what a good reply is made of.
    assert len(link.pulled) <= 6 * len((HOSTILE, *HONEST))


def test_question_when_it_is_pushed_is_in_memory_once() -> None:
    """Flower keeps a copy of what it has cut into chunks, as long as the question."""
    grid, asked = grid_at(SuperLink({})), content()
    array = asked.array_records[VECTOR][VECTOR]
    data = array.data
    with server_identity(RUN):
        grid.push_messages([Message(asked, HOSTILE, "train")])
    assert array.data is data
    assert "_chunks" not in vars(array)


class _Garbage(ConfigRecord):
    """A record whose bytes are none of Flower's, under the name of one that is."""

    def deflate(self) -> bytes:
        return add_header_to_object_body(object_body=b"\xff\xff\xffgarbage", obj=self)


_Garbage.__name__ = _Garbage.__qualname__ = "ConfigRecord"


def test_exchange_when_one_reply_does_not_decode_hears_the_others() -> None:
    pushed = {node: content() for node in HONEST} | {HOSTILE: content(fields=_Garbage)}
    assert good(exchange(SuperLink(pushed))) == set(HONEST)


def test_exchange_when_one_reply_is_never_pushed_ends_in_time_with_the_others() -> None:
    link = SuperLink(dict.fromkeys((HOSTILE, *HONEST), content()), silent=(HOSTILE,))
    heard: set[int] = set()
    thread = threading.Thread(target=lambda: heard.update(good(exchange(link))), daemon=True)
    started = time.monotonic()
    thread.start()
    thread.join(REPLY_SECONDS + GRACE_SECONDS)
    stalled, took = thread.is_alive(), time.monotonic() - started
    # A stalled exchange goes on once no more can come, so the test leaves nothing behind.
    link.over.set()
    thread.join(30)
    assert not thread.is_alive()
    assert not stalled, f"reply_seconds is {REPLY_SECONDS}, and the exchange took over {took:.0f} s"
    assert heard == set(HONEST)
    # Nothing is kept of it, nor of the others.
    assert len(set(link.ended)) == len((HOSTILE, *HONEST))


def test_reply_when_its_upload_has_ended_is_unavailable() -> None:
    link = SuperLink({node: content() for node in HONEST} | {HOSTILE: own()})
    link.silent = (HOSTILE,)
    link.over.set()
    assert heard(link)[HOSTILE].error.code == REFUSED["unavailable"]


@pytest.mark.parametrize(
    ("refused", "evidence"),
    [
        (answered(500), "HTTP 500"),
        (TransportError("too long"), "32,000,000 bytes in one part"),
        (ValueError("no protobuf"), "no protobuf"),
    ],
)
def test_reply_when_the_superlink_cannot_hand_it_over_is_refused(
    refused: Exception, evidence: str
) -> None:
    link = SuperLink({node: content() for node in HONEST} | {HOSTILE: own()})
    link.refuses = refused
    error = heard(link)[HOSTILE].error
    assert error.code == REFUSED["malformed"]
    assert evidence in (error.reason or "")


def test_replies_when_they_are_too_many_bytes_together_are_lost_and_the_exchange_ends() -> None:
    link = SuperLink({node: content() for node in HONEST} | {HOSTILE: own()})
    link.loses = TransportError("too long")
    lost = dict(exchange(link))
    assert {node: reply.error.code for node, reply in lost.items()} == dict.fromkeys(
        (HOSTILE, *HONEST), REFUSED["unavailable"]
    )


def test_error_when_it_is_long_is_cut() -> None:
    link = SuperLink({node: content() for node in HONEST} | {HOSTILE: own()})
    link.error = Error(12, "x" * 100_000)
    error = heard(link)[HOSTILE].error
    assert (error.code, error.reason) == (12, "x" * 4096)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_exchange_when_the_run_is_over_ends(status: int) -> None:
    link = SuperLink({node: content() for node in HONEST} | {HOSTILE: own()})
    link.refuses = answered(status)
    with pytest.raises(httpx.HTTPStatusError):
        heard(link)


def test_exchange_when_a_site_never_answers_ends_its_question() -> None:
    """Else the SuperLink keeps it, and the model with it, until the run ends."""
    link = SuperLink(dict.fromkeys((HOSTILE, *HONEST), content()), mute=(HOSTILE,))
    assert good(exchange(link)) == set(HONEST)
    (question,) = link._asked
    assert question in link.ended
    assert len(link.ended) == len((HOSTILE, *HONEST))


class _Bomb(Array):
    """A vector that names its one chunk many times over."""

    times: int

    def deflate(self) -> bytes:
        value = {"dtype": self.dtype, "shape": self.shape, "stype": self.stype}
        body = json.dumps({**value, "arraychunk_ids": [0] * self.times}).encode()
        return add_header_to_object_body(object_body=body, obj=self)


_Bomb.__name__ = _Bomb.__qualname__ = "Array"


def test_exchange_when_one_reply_inflates_takes_no_more_memory_than_was_sent() -> None:
    bomb = _Bomb(VECTOR_DTYPE, (PARAMETERS,), VECTOR_FORMAT, os.urandom(200_000))
    bomb.times = 400
    link = SuperLink({node: content() for node in HONEST} | {HOSTILE: content(bomb)})
    tracemalloc.start()
    try:
        heard = good(exchange(link))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert set(HONEST) <= heard
    limit = 8 * link.sent_bytes + 4_000_000
    assert peak < limit, f"{link.sent_bytes:,} bytes sent became {peak:,} bytes"
