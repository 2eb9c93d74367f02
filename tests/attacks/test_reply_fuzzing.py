"""Many nodes push anything at all to a real SuperLink: the rounds close with the honest sites."""

from __future__ import annotations

import gc
import json
import os
import queue
import signal
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CDLL
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any
from warnings import catch_warnings, simplefilter

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.proto.message_pb2 import ObjectTree
from google.protobuf.message import DecodeError

from tests.attacks.superlink import Nodes, Pushed, superlink_in
from tests.coordinator.conftest import Hospitals, hospitals_of
from wardround.protocol.fixed_point import vector_from_bytes
from wardround.protocol.messages import (
    BINS,
    FIELDS,
    VECTOR,
    VECTOR_DTYPE,
    VECTOR_FORMAT,
    Introduction,
    Measured,
)
from wardround.protocol.rules import RunningMean
from wardround.store import FolderStore
from wardround.transport.flower.identity import server_identity
from wardround.transport.flower.replies import bounded
from wardround_coordinator.session import StudyPosition
from wardround_coordinator.strategy import EVALUATE, QUERY, TRAIN, RoundResult, WardroundStrategy

#: A reply costs a SuperLink some 60 ms of a core. So many of them share the replies that none takes
#: long where a core is shared, too.
DEEP_REPLIES, DEEP_SEEDS = 10_000, range(2, 10)
HONEST = 3
REPLY_SECONDS = 10.0
GRACE_SECONDS = 10.0
#: What a ServerApp may need beyond what it has when it is idle, apart from three models.
ROOM_BYTES = 200_000_000
#: Parameters from which on the hostile nodes of a round share an update.
LARGE = 100_000
#: As long as Flower's own programs cut them.
CHUNK_BYTES = 5 << 20
KINDS = ("Message", "RecordDict", "ConfigRecord", "ArrayRecord", "Array", "ArrayChunk")
WORDS = {"malformed", "length", "no_reply", "unavailable", "site_error", "root", "signature"} | {
    *("impostor", "wrong_round", "weight", "report", "range", "code", "copied_update"),
}

Body = Callable[[list[str]], bytes]


@dataclass
class Part:
    """One object of a reply, and those below it."""

    kind: str
    body: Body
    below: list[Part] = field(default_factory=list)

    def all(self) -> Iterator[Part]:
        yield self
        for part in self.below:
            yield from part.all()

    def pack(self, objects: dict[str, bytes]) -> ObjectTree:
        """Add the object and those below it, lowest first."""
        below = [part.pack(objects) for part in self.below]
        names = [tree.object_id for tree in below]
        body = self.body(names)
        data = f"{self.kind} {','.join(names)} {len(body)}".encode() + b"\0" + body
        name = sha256(data).hexdigest()
        objects[name] = data
        return ObjectTree(object_id=name, children=below)


def named(*keys: str) -> Body:
    return lambda names: json.dumps(dict(zip(keys, names, strict=False))).encode()


def constant(data: bytes) -> Body:
    return lambda names: data


def record_part(fields: ConfigRecord) -> Part:
    return Part("ConfigRecord", constant(fields.deflate().split(b"\0", 1)[1]))


def array_part(array: Array) -> Part:
    def body(names: list[str]) -> bytes:
        about = {"dtype": array.dtype, "shape": array.shape, "stype": array.stype}
        return json.dumps({**about, "arraychunk_ids": [*range(len(names))]}).encode()

    data = array.data
    starts = range(0, len(data), CHUNK_BYTES)
    chunks = [constant(data[start : start + CHUNK_BYTES]) for start in starts]
    return Part("Array", body, [Part("ArrayChunk", chunk) for chunk in chunks])


def content_part(content: RecordDict) -> Part:
    below = [record_part(content.config_records[FIELDS])]
    keys = [FIELDS]
    if VECTOR in content:
        array = content.array_records[VECTOR][VECTOR]
        below.append(Part("ArrayRecord", named(VECTOR), [array_part(array)]))
        keys.append(VECTOR)
    return Part("RecordDict", named(*keys), below)


# ---------------------------------------------------------------- what a hostile node pushes


@dataclass
class Draft:
    """A reply before it is pushed: good, until something is done to it."""

    random: Random
    root: Part
    question: Message
    reply: Message
    #: How many of its objects are pushed, from the lowest; all where it is None.
    pushed: int | None = None
    #: Parts without any below them that are announced, and not pushed.
    withheld: list[Part] = field(default_factory=list)

    def any(self, *kinds: str) -> Part:
        parts = [part for part in self.root.all() if not kinds or part.kind in kinds]
        return self.random.choice(parts or [self.root])

    def finish(self) -> tuple[Pushed, list[str]]:
        objects: dict[str, bytes] = {}
        tree = self.root.pack(objects)
        self.reply.metadata.__dict__.setdefault("_message_id", "")
        if not self.reply.metadata.message_id:
            self.reply.metadata.__dict__["_message_id"] = tree.object_id
        withheld = {part.pack({}).object_id for part in self.withheld}
        names = [name for name in objects if name not in withheld]
        return Pushed(self.reply, tree, objects), names[: self.pushed]


def unchanged(draft: Draft) -> None:
    """A good reply, of a site that has other rows than it had before."""


def garbage(draft: Draft) -> None:
    data = draft.random.randbytes(draft.random.choice((0, 1, 40, 3000)))
    draft.any().body = lambda names: data


def flipped(draft: Draft) -> None:
    part, random = draft.any(), draft.random
    before, place, value = part.body, random.random(), random.randrange(256)

    def body(names: list[str]) -> bytes:
        data = bytearray(before(names))
        if data:
            data[int(place * len(data))] ^= value
        return bytes(data)

    part.body = body


def truncated(draft: Draft) -> None:
    part, share = draft.any(), draft.random.random()
    before = part.body
    part.body = lambda names: before(names)[: int(share * len(before(names)))]


def longer(draft: Draft) -> None:
    part, more = draft.any("ArrayChunk"), draft.random.choice((1, 4, 4000))
    before = part.body
    part.body = lambda names: before(names) + bytes(more)


def repeated(draft: Draft) -> None:
    times = draft.random.choice((0, 2, 3, 400, 20_000))

    def body(names: list[str]) -> bytes:
        about = {"dtype": "<i4", "shape": [7], "stype": "wardround.raw"}
        return json.dumps({**about, "arraychunk_ids": [0] * times}).encode()

    draft.any("Array").body = body


def described(draft: Draft) -> None:
    random = draft.random
    about = {
        "dtype": random.choice(["<i4", "<i8", "<f4", "O", "", "x" * 4000, None, 4, ["<i4"]]),
        "shape": random.choice([[7], [2**62], [-1], [], 7, None, [[7]], ["7"], [1.5]]),
        "stype": random.choice(["wardround.raw", "numpy.ndarray", "pickle", None, 1]),
        "arraychunk_ids": random.choice([[0], [-1], [9], [1.0], ["0"], [True], {"0": 0}, None, 0]),
    }
    if random.random() < 0.3:
        about.pop(random.choice(list(about)))
    draft.any("Array").body = lambda names: json.dumps(about).encode()


def huge(draft: Draft) -> None:
    size = draft.random.choice((200_000, 1_200_000, CHUNK_BYTES))
    draft.any("ArrayChunk", "ConfigRecord").body = lambda names: bytes(size)


def of_another_kind(draft: Draft) -> None:
    draft.any().kind = draft.random.choice(KINDS)


def reordered(draft: Draft) -> None:
    part, random = draft.any("Message", "RecordDict", "ArrayRecord", "Array"), draft.random
    other = draft.any()
    if any(one is part for one in other.all()):
        other = Part("ArrayChunk", lambda names: b"other")
    part.below = random.choice([[], [*part.below, other], part.below[::-1], part.below * 2])


def renamed(draft: Draft) -> None:
    random = draft.random
    names = [FIELDS, VECTOR, "", "x" * 2000, "\ud800", "\x1b[31m", "../../x"]
    draft.any("RecordDict", "ArrayRecord").body = named(*random.sample(names, 3))


def nested(draft: Draft) -> None:
    for _ in range(draft.random.choice((1, 20, 80))):
        draft.root.below = [Part("RecordDict", named(FIELDS), draft.root.below)]


def deep_json(draft: Draft) -> None:
    depth = draft.random.choice((900, 30_000))
    text = draft.random.choice((b"[" * depth, b'{"a":' * depth, b"[" * depth + b"]" * depth))
    draft.any("RecordDict", "ArrayRecord", "Array").body = lambda names: text


def wide(draft: Draft) -> None:
    count = draft.random.choice((10, 2000))
    more = [Part("ArrayChunk", constant(str(number).encode())) for number in range(count)]
    draft.any("Message", "RecordDict", "Array").below.extend(more)
    # No good reply has them, so the coordinator waits for none of them.
    draft.withheld = more


def other_fields(draft: Draft) -> None:
    random = draft.random
    values: list[Any] = [0, -1, 2**63 - 1, True, 1.5, float("nan"), "", "x" * 9000, b"", bytes(65)]
    values += [bytes(20_000), "0x" + "11" * 20, [1], [1.5], ["a"], [b"a"], [True], "\x00", "ß" * 40]
    names = ["study", "round", "site", "weight", "update", "digest", "signature", "report"]
    names += ["counts", "two_classes", "noise", "name"]
    fields = ConfigRecord({name: random.choice(values) for name in random.sample(names, 8)})
    for content in draft.root.below[:1]:
        content.below[:1] = [record_part(fields)]


def announced(draft: Draft) -> None:
    draft.pushed = draft.random.choice((0, 1, 2, -1))


def erroneous(draft: Draft) -> None:
    random = draft.random
    code = random.choice([0, 1, 2, 9001, 9002, -1, 2**31 - 1, *range(3, 12)])
    reason = random.choice(["", "no", "x" * 500_000, "\x1b[31m\n", "<class 'a'>:<'b'>"])
    draft.reply = Message(Error(code, reason), reply_to=draft.question)
    draft.root = Part("Message", lambda names: b"")


def about_another(draft: Draft) -> None:
    random, about = draft.random, draft.reply.metadata.__dict__
    name, values = random.choice(
        [
            ("_reply_to_message_id", ["", "0" * 64, "x"]),
            ("_run_id", [0, 1, 2**64 - 1]),
            ("_src_node_id", [0, 1, 2**63]),
            ("_dst_node_id", [0, 2, 2**63]),
            ("_message_id", ["0" * 64, "x", "x" * 5000]),
            ("_ttl", [-1.0, 0.0, 1e300, float("nan"), float("inf")]),
            ("_created_at", [-1.0, 1e300, float("nan")]),
            ("_message_type", ["train", "query.x", "system"]),
            ("_group_id", ["x" * 100_000]),
        ]
    )
    about[name] = random.choice(values)


WAYS: list[Callable[[Draft], None]] = [
    *(garbage, flipped, truncated, longer, repeated, described, huge, of_another_kind, reordered),
    *(renamed, nested, deep_json, wide, other_fields, erroneous, about_another),
]
UNCHANGED_SHARE, AGAIN_SHARE, TWICE_SHARE = 0.04, 0.2, 0.05
#: How often a node tries to have a reply taken. One that never has is silent, and asked less often.
TRIES = 4


# ---------------------------------------------------------------- the sites


@dataclass
class Sites:
    """The nodes of a network: some answer, and the others push anything.

    What a node pushes depends on the seed, its place, the round and the question alone.
    """

    hospitals: Hospitals
    nodes: Nodes
    seed: int
    position: Callable[[], StudyPosition]
    done: Counter[str] = field(default_factory=Counter)
    pushed: int = 0
    errors: list[BaseException] = field(default_factory=list)
    honest: queue.Queue[int | None] = field(default_factory=queue.Queue)
    hostile: queue.Queue[int | None] = field(default_factory=queue.Queue)
    _places: dict[int, int] = field(default_factory=dict)
    _large: dict[int, RecordDict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._places = {node: place for place, node in enumerate(self.nodes.ids)}

    def ask(self, node: int) -> None:
        """Let a node look for a question; the honest ones answer in time, however many others."""
        (self.honest if self._places[node] < HONEST else self.hostile).put(node)

    def answer_apart(self) -> int:
        """Answer in a process of its own, whose memory is not the ServerApp's.

        Returns:
            The process's id; it answers until it is ended, and a round alone.
        """
        with catch_warnings():
            # Later Pythons warn of threads, of which this process needs none.
            simplefilter("ignore", DeprecationWarning)
            process = os.fork()
        if process:
            return process
        try:
            asked = [self.honest, self.hostile, self.hostile]
            for one in asked:
                threading.Thread(target=self.answer_all, args=(one,), daemon=True).start()
            while not self.errors:
                for node in self.nodes.ids:
                    self.ask(node)
                time.sleep(1.0)
        finally:
            for error in self.errors:
                traceback.print_exception(error)
            os._exit(1)

    def answer_all(self, asked: queue.Queue[int | None]) -> None:
        """Answer each question to nodes that a queue names, until it names none."""
        while (node := asked.get()) is not None:
            try:
                question = self.nodes.question(node)
                if question is not None:
                    self._answer(node, question)
            except BaseException as error:  # noqa: BLE001 -- the test reports it
                self.errors.append(error)

    def _answer(self, node: int, question: Message) -> None:
        place, kind = self._places[node], question.metadata.message_type
        if place < HONEST or kind == QUERY:
            content = self._content(place, kind)
            taken = self.nodes.push(node, Pushed.of(Message(content, reply_to=question)))
            # Who introduces itself too late is asked again.
            assert taken or kind == QUERY
            return
        number = int(question.metadata.group_id)
        random = Random(f"{self.seed} {number} {place} {kind}")
        silence = self._silence(number, place, kind)
        if silence == "mute":
            self.done[silence] += 1
            return
        content = self._content(place, kind)
        left = 2 if random.random() < TWICE_SHARE else 1
        for _ in range(TRIES):
            left -= self._push(node, question, content, random, silence)
            if not left or silence:
                return
        self.done["resigned"] += 1
        self.nodes.push(node, Pushed.of(Message(Error(0, ""), reply_to=question)))

    def _silence(self, number: int, place: int, kind: str) -> str:
        """Two nodes push nothing, or not what they announced, when four rounds have passed.

        Each costs a timeout.
        """
        quiet = {1: TRAIN, 5: EVALUATE}.get(number % 8) == kind
        first = HONEST + number % (len(self._places) - HONEST - 1)
        return {first: "mute", first + 1: "announced"}.get(place, "") if quiet else ""

    def _push(
        self, node: int, question: Message, content: RecordDict, random: Random, silence: str
    ) -> bool:
        """Push something, and give whether it is taken."""
        reply = Message(content, reply_to=question)
        head = reply.deflate().split(b"\0", 1)[1]
        root = Part("Message", constant(head), [content_part(content)])
        draft = Draft(random, root, question, reply)
        way: Callable[[Draft], None]
        if silence:
            way = announced
        elif random.random() < UNCHANGED_SHARE:
            way = unchanged
        else:
            way = random.choice(WAYS)
        way(draft)
        if not silence and random.random() < AGAIN_SHARE:
            random.choice(WAYS)(draft)
        self.done[way.__name__] += 1
        try:
            taken = self.nodes.push(node, *draft.finish())
            self.pushed += 1
            return taken
        except (ValueError, TypeError, DecodeError):
            self.done["not sent"] += 1  # protobuf has no such value, or no tree so deep
            return False

    def _content(self, place: int, kind: str) -> RecordDict:
        site = self.hospitals.sites[place]
        if kind == QUERY:
            fields = Introduction(site, f"site-{place}").fields()
            return RecordDict({FIELDS: ConfigRecord(fields)})
        if kind == EVALUATE:
            counts = Measured(counts=[1] * (2 * BINS), two_classes=True, noise=0.0)
            return RecordDict({FIELDS: ConfigRecord(counts.fields())})
        assert kind == TRAIN
        position = self.position()
        large = self.hospitals.network.params.parameter_count >= LARGE
        if large and place >= HONEST and position.round in self._large:
            return self._large[position.round]  # signing a large one takes its time
        reply = self.hospitals.reply(place, position)
        vector = reply.vector
        array = Array(vector.dtype, (len(vector.data) // 4,), vector.format, vector.data)
        arrays = ArrayRecord()
        arrays[VECTOR] = array  # not through the constructor, which copies
        content = RecordDict({FIELDS: ConfigRecord(dict(reply.fields)), VECTOR: arrays})  # type: ignore[arg-type]
        if large and place >= HONEST:
            self._large = {position.round: content}
        return content


def memory_bytes(name: str, process: int | str = "self") -> int:
    """Read a line of a process's status, such as ``VmHWM``."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def kept_waiting(thread: int) -> float:
    """For how many seconds a thread was ready to run and all cores had other work."""
    return int(Path(f"/proc/{thread}/schedstat").read_text().split()[1]) / 1e9


@dataclass
class Stopwatch:
    """Measures calls, without the time for which the machine's other work kept them waiting.

    Two threads do a round's work one after the other: this one and the SuperLink's. What the kernel
    notes of each is the time for which it could have run, and did not.
    """

    superlink: int
    took: list[float] = field(default_factory=list)

    def __call__(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            started = self._now()
            try:
                return call(*given)
            finally:
                self.took.append(self._now() - started)

        return timed

    def _now(self) -> float:
        waited = kept_waiting(threading.get_native_id()) + kept_waiting(self.superlink)
        return time.monotonic() - waited


@contextmanager
def memory_bounded(vector_bytes: int) -> Iterator[None]:
    """Compare the most memory of this process within a block with what it has before."""
    gc.collect()
    CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    idle = memory_bytes("VmRSS")
    yield
    grown = memory_bytes("VmHWM") - idle
    print(f"{grown / 1e6:.0f} MB more than idle, for vectors of {vector_bytes / 1e6:.1f} MB")
    assert grown < 3 * vector_bytes + ROOM_BYTES, f"{grown:,} bytes more than idle"


def found(position: StudyPosition | None) -> StudyPosition:
    assert position is not None
    return position


class Enough(Exception):
    """So many replies were pushed as were wanted."""


def generated(sites: int, features: int) -> dict[str, Any]:
    rows = {"sites": sites, "rows": 12, "test_rows": 4, "features": features}
    return {"name": "generated", "arguments": rows}


def fuzz(folder: Path, replies: int, seed: int, sites: int, **tables: Any) -> None:
    """Run a study of which all sites but three push anything, until so many replies were pushed.

    The chain's clock runs ahead as soon as only the registrations' cut-off is waited for, so
    `reply_seconds` is the later of the two.
    """
    tables: dict[str, Any] = {
        "study": {"rounds": replies // 10},
        "aggregation": {"min_sites": HONEST},
        "data": generated(sites, 6),
        "chain": {"registration_seconds": 12},
    }
    (folder / "link").mkdir()
    with (
        superlink_in(folder / "link") as link,
        link.served() as plain,
        link.nodes(sites) as nodes,
        contextmanager(hospitals_of)(folder, **tables) as hospitals,
    ):
        params = hospitals.network.params
        grid = bounded(plain, params.vector_size, folder)
        session, watch = hospitals.session(), Stopwatch(link.process_id)
        push = grid.push_messages

        def pushing(messages: Any) -> Any:
            sent = list(messages)
            names = push(sent)
            for message in sent:
                played.ask(message.metadata.dst_node_id)
            return names

        grid.push_messages = pushing  # type: ignore[method-assign]
        honest = {site.lower() for site in hospitals.sites[:HONEST]}
        held: list[int] = []

        def closed(result: RoundResult) -> None:
            manifest = result.facts.manifest
            assert honest <= {row.site for row in manifest.contributions}
            assert {row.reason for row in manifest.dropped} <= WORDS
            assert max(watch.took) < REPLY_SECONDS + GRACE_SECONDS, watch.took
            assert not played.errors
            held.append(memory_bytes("VmRSS", link.process_id))
            if played.pushed >= replies:
                raise Enough

        strategy = WardroundStrategy(session, sites, REPLY_SECONDS, attempts=1, on_round=closed)
        # To train and close, and to measure.
        strategy.aggregate_train = watch(strategy.aggregate_train)  # type: ignore[method-assign]
        strategy.aggregate_evaluate = watch(strategy.aggregate_evaluate)  # type: ignore[method-assign]
        played = Sites(hospitals, nodes, seed, lambda: found(strategy._position))
        asked = [played.honest, played.hostile, played.hostile]
        threads = [threading.Thread(target=played.answer_all, args=(one,)) for one in asked]
        for thread in threads:
            thread.start()
        try:
            with (
                server_identity(grid.run.run_id),
                memory_bounded(params.vector_size),
                pytest.raises(Enough),
            ):
                strategy.start(grid)
        finally:
            for one in asked:
                one.put(None)
            for thread in threads:
                thread.join(60)
        assert not played.errors
        print(
            f"{played.pushed} replies in {len(held)} rounds, the longest of"
            f" {max(watch.took):.1f} s; the SuperLink grew from {held[0] / 1e6:.0f} to"
            f" {held[-1] / 1e6:.0f} MB; {dict(played.done)}"
        )
        assert held[-1] - held[0] < 3 * params.vector_size + ROOM_BYTES, held


def large_round(folder: Path, width: int, sites: int, reply_seconds: float) -> None:
    """Close a round of a large model, and bound the memory of the process that has the ServerApp.

    Args:
        folder: for all files.
        width: of the model's two hidden layers.
        sites: of which all but three push anything, most of it as large as an update.
        reply_seconds: they have, and as long the round takes, since two say nothing.
    """
    tables: dict[str, Any] = {
        "study": {"rounds": 1},
        "aggregation": {"min_sites": HONEST},
        "model": {"name": "mlp", "arguments": {"features": 100, "hidden": [width, width]}},
        "data": generated(sites, 100),
        "chain": {"registration_seconds": 12},
    }
    (folder / "link").mkdir()
    with (
        superlink_in(folder / "link") as link,
        link.nodes(sites) as nodes,
        contextmanager(hospitals_of)(folder, **tables) as hospitals,
    ):
        session, params = hospitals.session(), hospitals.network.params
        position = session.position()
        played = Sites(hospitals, nodes, 3, lambda: position)
        process = played.answer_apart()
        try:
            with link.served() as plain:
                grid = bounded(plain, params.vector_size, folder)
                honest = {site.lower() for site in hospitals.sites[:HONEST]}

                def closed(result: RoundResult) -> None:
                    manifest = result.facts.manifest
                    assert honest <= {row.site for row in manifest.contributions}
                    print(Counter(row.reason for row in manifest.dropped))
                    raise Enough

                strategy = WardroundStrategy(
                    session, sites, reply_seconds, attempts=1, on_round=closed
                )
                with (
                    server_identity(grid.run.run_id),
                    memory_bounded(params.vector_size),
                    pytest.raises(Enough),
                ):
                    strategy.start(grid)
        finally:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


@pytest.mark.timeout(600)
def test_round_when_replies_are_as_large_as_a_model_stays_within_its_memory(tmp_path: Path) -> None:
    """A model of 1,000,351 parameters, 4 MB."""
    large_round(tmp_path, width=950, sites=20, reply_seconds=20.0)


@pytest.mark.deep
@pytest.mark.timeout(1800)
def test_round_when_replies_are_of_forty_megabytes_stays_within_its_memory(tmp_path: Path) -> None:
    """A model of 9,926,301 parameters."""
    large_round(tmp_path, width=3100, sites=20, reply_seconds=90.0)


@pytest.mark.timeout(300)
def test_replies_when_they_are_many_and_large_are_in_memory_one_at_a_time(tmp_path: Path) -> None:
    """They are stored and summed, and together they are larger than what is allowed."""
    parameters, count = 8_000_000, 10
    vector_bytes = 4 * parameters
    assert count * vector_bytes > 3 * vector_bytes + ROOM_BYTES
    with superlink_in(tmp_path) as link, link.served() as plain, link.nodes(count) as nodes:
        grid = bounded(plain, vector_bytes, tmp_path)
        with server_identity(grid.run.run_id):
            questions = [Message(RecordDict(), node, TRAIN) for node in nodes.ids]
            names = list(grid.push_messages(questions))
        for node in nodes.ids:
            question = nodes.question(node)
            assert question is not None
            arrays = ArrayRecord()
            arrays[VECTOR] = Array(
                VECTOR_DTYPE, (parameters,), VECTOR_FORMAT, Random(node).randbytes(vector_bytes)
            )
            content = RecordDict({FIELDS: ConfigRecord({"a": 1}), VECTOR: arrays})
            nodes.push(node, Pushed.of(Message(content, reply_to=question)))
        del arrays, content
        running, store, taken = RunningMean(parameters), FolderStore(tmp_path / "store"), 0
        with memory_bounded(vector_bytes):
            for reply in grid.pull_messages(names):
                data = reply.content.array_records[VECTOR][VECTOR].data
                running.add(vector_from_bytes(data, parameters), 1)
                store.put(data)
                taken += 1
        assert taken == count
        assert running.finish().size == parameters


@pytest.mark.timeout(600)
def test_rounds_when_nearly_all_sites_push_anything_close_with_the_honest(tmp_path: Path) -> None:
    fuzz(tmp_path, replies=500, seed=1, sites=60)


@pytest.mark.deep
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", DEEP_SEEDS)
def test_rounds_when_more_replies_are_anything_close_with_the_honest(
    tmp_path: Path, seed: int
) -> None:
    """Ten thousand replies, over as many SuperLinks as there are seeds."""
    fuzz(tmp_path, replies=DEEP_REPLIES // len(DEEP_SEEDS), seed=seed, sites=100)
