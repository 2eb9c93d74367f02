"""Replies out of a SuperLink, bounded before anything is built of them.

A node owns its reply: how many objects it announces, what each is and how they nest. Flower's grid
waits two hours for what was announced, builds whatever it describes, and holds every reply of a
poll before it gives the first. Here each reply is read in a try of its own:

- **Places.** Only the objects that a reply of ours is made of are pulled, each at its one place.
  What else a node announces is never asked for, so neither its count nor its depth matters.
- **Lengths.** Each object and answer has a limit, and a vector exactly the length of the layout.
- **Time.** An object that is not there yet is looked for at the next poll; nothing waits for it.
- **Memory.** A vector goes chunk by chunk into an unnamed file, and from there into store, hash
  and sum. Whatever many nodes send at once, one chunk is in memory.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import re
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.app.message.arraychunk import ArrayChunk
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.serverapp import Grid
from flwr.supercore.constant import SYSTEM_MESSAGE_TYPE
from flwr.supercore.inflatable.inflatable_object import (
    get_object_body,
    get_object_children_ids_from_object_content,
)
from flwr.superlink.grid.http_grid import HttpGrid

from wardround.protocol.messages import (
    COUNTS_DTYPE,
    FIELDS,
    VECTOR,
    VECTOR_DTYPE,
    VECTOR_FORMAT,
)
from wardround.protocol.report import REPORT_MAX_BYTES
from wardround.transport.errors import TransportError, flower_changed
from wardround.transport.flower.answers import bounded_answers
from wardround.transport.flower.messages import REFUSED
from wardround.transport.flower.waiting import NEWS_PATH

#: One answer of the SuperLink: a chunk of Flower's has 5 MiB.
ANSWER_MAX_BYTES = 32_000_000
#: An object that is no part of a vector; a report is the largest thing in one.
_PLAIN_MAX_BYTES = REPORT_MAX_BYTES + 65_536
_CHUNK_MIN_BYTES = 1 << 20
_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
_REASON_LETTERS = 4096
#: Replies that are looked for in one request; `intake` bounds what each adds to the answer.
_AT_ONCE = 64
_OBJECT = re.compile("[0-9a-f]{64}")
#: The run's token is not valid, the run has ended, or it is another server: no reply's fault.
_OUR_OWN = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND)

_Found = TypeVar("_Found")
#: Reads on whenever it is resumed; yields where an object is not there yet.
_Reading = Generator[None, None, _Found]


class _BadReply(Exception):
    """A reply that is refused, with a word of `REFUSED`."""

    def __init__(self, word: str, evidence: str) -> None:
        self.word, self.evidence = word, evidence
        super().__init__(f"{word}: {evidence}")


class BoundedGrid(HttpGrid):
    """Flower's grid over a SuperLink, with replies that are read as this module says."""

    def __init__(self, grid: HttpGrid, vector_bytes: int, folder: Path) -> None:
        """Use another grid's connection and run.

        Args:
            grid: as Flower made it.
            vector_bytes: the length of the study's vectors, > 0.
            folder: on a disk, for what is pulled of vectors; its files have no name.
        """
        vars(self).update(vars(grid))
        self._vector_bytes, self._folder = vector_bytes, folder
        self._news = 0
        self._begun: dict[str, tuple[Metadata, _Reading[RecordDict | Error]]] = {}
        self._unanswered: set[str] = set()

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages.

        Returns:
            The name of each, in order; "" for one that the SuperLink does not take.
        """
        sent = list(messages)
        names = list(super().push_messages(sent))
        self._unanswered.update(filter(None, names))
        for message in sent:
            for record in message.content.array_records.values():
                for array in record.values():
                    # Flower keeps a copy of it in chunks, until it is set.
                    array.data = array.data
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """Look for the reply to each message, and give each as soon as it is read.

        Args:
            message_ids: as `push_messages` gave them.
        Returns:
            A lazy iterator. A reply that is not complete is left out; one that is refused becomes
            an error with a code of `REFUSED`. A reply loses its vector when the next is asked for.
        """
        wanted = list(message_ids)
        new = [number for number in wanted if number not in self._begun]
        for start in range(0, len(new), _AT_ONCE):
            self._look(new[start : start + _AT_ONCE])
        for number in wanted:
            reply = self._reply(number)
            if reply is not None:
                yield reply
                # Before the next one is read, not after; Flower's records refer to themselves.
                if reply.has_content():
                    for record in reply.content.array_records.values():
                        record.clear()
                del reply

    def rest(self, seconds: float) -> None:
        """Sleep, but not past what a site has pushed since the last sleep.

        Args:
            seconds: the longest; a SuperLink that gives no news has it slept to its end.
        """
        client = self._runtime_client._client
        asked = {"since": self._news, "for": int(1000 * seconds)}
        try:
            answer = client.get(f"{self._runtime_client._base_url}{NEWS_PATH}", params=asked)
            self._news = int(answer.raise_for_status().text)
        except (httpx.HTTPError, ValueError, TransportError):
            time.sleep(seconds)

    def give_up(self, message_ids: Iterable[str]) -> None:
        """Take no more replies to some messages: the SuperLink forgets all that it has of them."""
        # Where the run has ended, or the SuperLink is gone, nothing is kept.
        with suppress(httpx.HTTPError):
            for number in message_ids:
                begun = self._begun.pop(number, None)
                if begun is not None:
                    begun[1].close()
                    self._confirm(begun[0].message_id)
                elif number in self._unanswered:
                    self._unanswered.remove(number)
                    self._confirm(number)

    def _look(self, numbers: list[str]) -> None:
        """Begin with the replies that are announced to some messages."""
        asked = PullAppMessagesRequest(message_ids=numbers)
        try:
            answer = _called(self._runtime_client.PullMessages, asked)
        except _BadReply as error:
            # They may be lost with the answer.
            lost = _BadReply("unavailable", error.evidence)
            self._begun |= {number: (self._about(number), _failed(lost)) for number in numbers}
            return
        for message in answer.messages_list:
            number, name = message.metadata.reply_to_message_id, message.metadata.message_id
            # The SuperLink hands on other messages too.
            if number in numbers and number not in self._begun:
                reading = (
                    _error(message.error) if message.HasField("error") else self._content(name)
                )
                self._begun[number] = self._about(number, name), reading
                self._unanswered.discard(number)

    def _reply(self, number: str) -> Message | None:
        """Read on in a reply; give it when it is complete, or refused."""
        if number not in self._begun:
            return None
        about, reading = self._begun[number]
        try:
            next(reading)
            return None
        except StopIteration as end:
            found = end.value
        except _BadReply as error:
            found = Error(REFUSED[error.word], error.evidence)
        del self._begun[number]
        self._confirm(about.message_id)
        if isinstance(found, Error):
            return make_message(about, error=found)
        return make_message(about, content=found)

    def _about(self, number: str, name: str = "") -> Metadata:
        """What is known of a reply without its sender's word."""
        return Metadata(
            run_id=self.run.run_id,
            message_id=name,
            src_node_id=self.node.node_id,
            dst_node_id=self.node.node_id,
            reply_to_message_id=number,
            group_id="",
            created_at=0.0,
            ttl=0.0,
            message_type=SYSTEM_MESSAGE_TYPE,
        )

    def _confirm(self, name: str) -> None:
        """Let the SuperLink delete a reply, or a question that waits for one."""
        request = ConfirmMessageReceivedRequest(
            node=self.node, run_id=self.run.run_id, message_object_id=name
        )
        with suppress(_BadReply):
            _called(self._runtime_client.ConfirmMessageReceived, request)

    # ------------------------------------------------- a reply, from the top

    def _content(self, number: str) -> _Reading[RecordDict | Error]:
        # Its own object, which no other node can have pushed.
        data = yield from self._object(number)
        children = _decoded(partial(get_object_children_ids_from_object_content, data))
        if len(children) != 1:
            raise _BadReply("malformed", "it has no content, or several")
        content = RecordDict()
        records = yield from self._named(children[0], RecordDict)
        for name, number in records.items():
            if name == FIELDS:
                data = yield from self._object(number)
                content[name] = _decoded(partial(ConfigRecord.inflate, data))
            elif name == VECTOR:
                arrays = yield from self._named(number, ArrayRecord)
                if set(arrays) != {VECTOR}:
                    raise _BadReply("malformed", "there is not exactly one vector")
                # Not through the constructor, which copies.
                content[name] = record = ArrayRecord()
                record[VECTOR] = yield from self._array(arrays[VECTOR])
            else:
                raise _BadReply("malformed", f"a record {name[:40]!r}")
        return content

    def _array(self, number: str) -> _Reading[Array]:
        data = yield from self._object(number)
        dtype, chunks = _decoded(partial(_described, data))
        whole = self._vector_bytes
        if len(chunks) > whole // _CHUNK_MIN_BYTES + 1:
            raise _BadReply("length", f"{len(chunks)} chunks for {whole} bytes")
        with tempfile.TemporaryFile(dir=self._folder) as file:
            length = 0
            for one in chunks:
                part = yield from self._object(one, ANSWER_MAX_BYTES)
                body = _decoded(partial(get_object_body, part, ArrayChunk))
                length += len(body)
                if length > whole:
                    raise _BadReply("length", f"more than the {whole} bytes that belong")
                file.write(body)
                del part, body  # not while the next one is waited for
            if length != whole:
                raise _BadReply("length", f"{length} bytes where {whole} belong")
            file.flush()
            mapped = mmap.mmap(file.fileno(), whole, access=mmap.ACCESS_READ)
        # The constructor takes nothing but bytes.
        array = object.__new__(Array)
        shape = (whole // int(dtype[-1]),)
        array.__dict__.update(
            dtype=dtype, shape=shape, stype=VECTOR_FORMAT, data=memoryview(mapped)
        )
        return array

    def _named(
        self, number: str, kind: type[RecordDict | ArrayRecord]
    ) -> _Reading[Mapping[str, str]]:
        data = yield from self._object(number)
        return _decoded(partial(_references, data, kind))

    def _object(self, number: str, max_bytes: int = _PLAIN_MAX_BYTES) -> _Reading[bytes]:
        request = PullObjectRequest(node=self.node, run_id=self.run.run_id, object_id=number)
        while True:
            answer = _called(self._runtime_client.PullObject, request)
            if not answer.object_found:
                raise _BadReply("unavailable", "its upload ended before it was complete")
            if answer.object_available:
                break
            yield
        data: bytes = answer.object_content
        if len(data) > max_bytes:
            raise _BadReply("malformed", f"an object of {len(data)} bytes")
        return data


def bounded(grid: Grid, vector_bytes: int, folder: Path) -> Grid:
    """Bound the replies that come over a SuperLink; a grid within this process stays as it is.

    Args:
        grid: as the ServerApp was given it.
        vector_bytes: the length of the study's vectors.
        folder: on a disk, for what is pulled of vectors.
    Raises:
        TransportError: it is not the Flower that this was tested with.
    """
    if not isinstance(grid, HttpGrid):
        return grid
    client = getattr(grid._runtime_client, "_client", None)
    if not isinstance(client, httpx.Client) or not hasattr(grid._runtime_client, "_base_url"):
        raise flower_changed("its runtime client has no httpx client, or no address")
    _give_back_memory()
    bound = bounded_answers(ANSWER_MAX_BYTES, "the SuperLink")
    client.event_hooks = {"response": [bound]}
    # Else it may compress, and an answer's length is not known before it is unpacked.
    client.headers["accept-encoding"] = "identity"
    return BoundedGrid(grid, vector_bytes, folder)


def _give_back_memory() -> None:
    """Let the system have what is large as soon as it is freed: glibc would keep up to 64 MB."""
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    if option is not None:
        option(_M_MMAP_THRESHOLD, _CHUNK_MIN_BYTES)


def _error(given: Any) -> _Reading[RecordDict | Error]:
    """Read an error, which comes whole."""
    yield from ()
    return Error(given.code, given.reason[:_REASON_LETTERS])


def _failed(error: _BadReply) -> _Reading[RecordDict | Error]:
    yield from ()
    raise error


def _called(call: Callable[[Any], Any], request: Any) -> Any:
    """Ask the SuperLink about one reply; what it cannot hand over is refused."""
    try:
        return call(request)
    except httpx.HTTPStatusError as error:
        if error.response.status_code in _OUR_OWN:
            raise
        evidence = f"the SuperLink answers with HTTP {error.response.status_code}"
        raise _BadReply("malformed", evidence) from error
    except TransportError as error:
        raise _BadReply("malformed", f"more than {ANSWER_MAX_BYTES:,} bytes in one part") from error
    except ValueError as error:  # Flower's, of an answer that is no protobuf
        raise _BadReply("malformed", str(error)[:80]) from error


def _decoded(read: Callable[[], _Found]) -> _Found:
    try:
        return read()
    except _BadReply:
        raise
    except Exception as error:  # the bytes are a node's, and may raise anything
        raise _BadReply("malformed", f"it does not decode ({type(error).__name__})") from error


def _references(data: bytes, kind: type[RecordDict | ArrayRecord]) -> dict[str, str]:
    """Read the names of a record's parts, and of each the object."""
    found = json.loads(get_object_body(data, kind))
    if not isinstance(found, dict):
        raise TypeError(kind.__name__)
    if len(found) > len((FIELDS, VECTOR)):
        raise _BadReply("malformed", f"records {sorted(found)[:4]}")
    if not all(_OBJECT.fullmatch(one) for one in found.values()):
        raise ValueError(kind.__name__)
    return found


def _described(data: bytes) -> tuple[str, list[str]]:
    """Read an array's type, and its chunks in order; one may come several times."""
    about = json.loads(get_object_body(data, Array))
    dtype, stype = str(about["dtype"]), about["stype"]
    if dtype not in (VECTOR_DTYPE, COUNTS_DTYPE) or stype != VECTOR_FORMAT:
        raise _BadReply("malformed", f"the update is {dtype[:20]} in another form")
    children = get_object_children_ids_from_object_content(data)
    return dtype, [children[place] for place in about["arraychunk_ids"]]
