"""The strategy over a real Grid, with ClientApps that answer anything at all."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from math import inf, nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp

from tests.integration.networks import prepared, small_scenario
from wardround.audit.audit import StudyAudit
from wardround.protocol.errors import RoundFailed, ScenarioError
from wardround.protocol.messages import (
    BINS,
    FIELDS,
    VECTOR,
    VECTOR_DTYPE,
    VECTOR_FORMAT,
    Measured,
    TrainTask,
)
from wardround.store import FolderStore
from wardround.transport.flower.grid import FIRST_NODE_ID, Availability
from wardround.transport.flower.messages import ErrorCode
from wardround_client.app import client_app as honest
from wardround_coordinator.server_app import make_server_app
from wardround_coordinator.strategy import RoundResult, WardroundStrategy
from wardround_simulations.engines import run_in_process
from wardround_simulations.network import Network

BAD = 0  # the partition that misbehaves
Answer = Callable[[Message, Context, Callable[[Message, Context], Message]], Any]


def app_where(kind: str, answer: Answer, bad: tuple[int, ...] = (BAD,)) -> ClientApp:
    """The sites' own app, but some of them answer one kind of message in a way of their own."""

    def misbehave(message: Message, context: Context, call_next: Any) -> Any:
        concerned = int(context.node_config["partition-id"]) in bad
        if concerned and message.metadata.message_type == kind:
            return answer(message, context, call_next)
        return call_next(message, context)

    app = ClientApp(mods=[misbehave])
    app.query()(honest.introduce)
    app.train()(honest.train)
    app.evaluate()(honest.evaluate)
    return app


@contextmanager
def network_in(folder: Path, reply_seconds: float = 30.0, **tables: Any) -> Iterator[Network]:
    tables = {"study": {"rounds": 1}, **tables}
    with prepared(small_scenario(**tables), folder / "network") as network:
        settings = network.folders.coordinator / "coordinator.toml"
        text = settings.read_text("utf-8")
        more = f"reply_seconds = {reply_seconds}\nattempts = 2\n"
        settings.write_text(text.replace("[study]", f"{more}\n[study]"), "utf-8")
        yield network


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with network_in(tmp_path) as made:
        yield made


def coordinate(network: Network, app: ClientApp, **options: Any) -> list[dict[str, Any]]:
    """Run the study with a ClientApp; return what the coordinator reported of each round."""
    told: list[dict[str, Any]] = []
    run_in_process(
        make_server_app(told.append),
        app,
        [{} for _ in network.parties],
        {"network": str(network.folders.root)},
        **options,
    )
    return told


def closed_rounds(network: Network) -> int:
    store = FolderStore(network.folders.store)
    return len(list(StudyAudit(network.contract, network.study, store).rounds()))


def replying(make: Callable[[Message], RecordDict]) -> Answer:
    """Answer honestly, but with another content."""

    def answer(message: Message, context: Context, call_next: Any) -> Message:
        reply: Message = call_next(message, context)
        reply.content = make(reply)
        return reply

    return answer


def in_turn(answers: Iterable[Answer]) -> Answer:
    """Answer each message in the next of these ways."""
    remaining = iter(answers)
    return lambda *arguments: next(remaining)(*arguments)


def array(values: Any, dtype: str = VECTOR_DTYPE, stype: str = VECTOR_FORMAT) -> Array:
    data = np.asarray(values)
    return Array(dtype=dtype, shape=data.shape, stype=stype, data=data.tobytes())


def fields_of(reply: Message) -> ConfigRecord:
    return reply.content.config_records[FIELDS]


def vector_of(reply: Message) -> ArrayRecord:
    return reply.content.array_records[VECTOR]


def raising(error: BaseException) -> Answer:
    def answer(*_: Any) -> Message:
        raise error

    return answer


TRAIN: dict[str, tuple[Answer, str]] = {
    "nothing": (replying(lambda reply: RecordDict()), "malformed"),
    "no vector": (replying(lambda reply: RecordDict({FIELDS: fields_of(reply)})), "malformed"),
    "no fields": (replying(lambda reply: RecordDict({VECTOR: vector_of(reply)})), "malformed"),
    "a record more": (
        replying(
            lambda reply: RecordDict(
                {FIELDS: fields_of(reply), VECTOR: vector_of(reply), "m": MetricRecord({"a": 1})}
            )
        ),
        "malformed",
    ),
    "fields as metrics": (
        replying(
            lambda reply: RecordDict({FIELDS: MetricRecord({"a": 1}), VECTOR: vector_of(reply)})
        ),
        "malformed",
    ),
    "two vectors": (
        replying(
            lambda reply: RecordDict(
                {
                    FIELDS: fields_of(reply),
                    VECTOR: ArrayRecord({VECTOR: array([1]), "other": array([1])}),
                }
            )
        ),
        "malformed",
    ),
    "another name": (
        replying(
            lambda reply: RecordDict(
                {FIELDS: fields_of(reply), VECTOR: ArrayRecord({"x" * 500: array([1])})}
            )
        ),
        "malformed",
    ),
    "NaN": (
        replying(
            lambda reply: RecordDict(
                {
                    FIELDS: fields_of(reply),
                    VECTOR: ArrayRecord({VECTOR: array([np.float32(nan)] * 7, "<f4")}),
                }
            )
        ),
        "malformed",
    ),
    "a pickle": (
        replying(
            lambda reply: RecordDict(
                {
                    FIELDS: fields_of(reply),
                    VECTOR: ArrayRecord({VECTOR: Array(np.zeros(7, np.int32))}),
                }
            )
        ),
        "malformed",
    ),
    "another shape": (
        replying(
            lambda reply: RecordDict(
                {FIELDS: fields_of(reply), VECTOR: ArrayRecord({VECTOR: array(np.zeros(8, "<i4"))})}
            )
        ),
        "length",
    ),
    "lists": (
        replying(
            lambda reply: RecordDict(
                {
                    FIELDS: ConfigRecord({name: [1, 2] for name in fields_of(reply)}),
                    VECTOR: vector_of(reply),
                }
            )
        ),
        "malformed",
    ),
    "an exception": (
        raising(ValueError("out of \x1b[31mmemory\n" + "x" * 999 + " in the end")),
        "site_error",
    ),
    "the end": (raising(SystemExit(3)), "site_error"),
    "no message": (lambda *_: None, "site_error"),
}


def test_rounds_when_one_site_answers_strangely_are_closed_without_it(tmp_path: Path) -> None:
    answers = in_turn(answer for answer, _ in TRAIN.values())
    with network_in(tmp_path, study={"rounds": len(TRAIN)}) as network:
        told = coordinate(network, app_where("train", answers))
        store = FolderStore(network.folders.store)
        audited = list(StudyAudit(network.contract, network.study, store).rounds())
        addresses = {party.name: party.account.address.lower() for party in network.parties}
    bad = network.parties[BAD].name
    good = sorted(addresses.keys() - {bad}, key=addresses.__getitem__)
    for (how, (_, reason)), one, audit in zip(TRAIN.items(), told, audited, strict=True):
        assert one["dropped"] == [{"site": bad, "reason": reason}], how
        assert one["contributors"] == good, how
        # What was seen of a bad site is kept for everyone: short, and harmless to print.
        (row,) = audit.manifest.dropped
        assert row.evidence.isprintable(), how
        assert 0 < len(row.evidence) <= 300, how
        if how == "an exception":
            assert row.evidence.startswith("ValueError: out of [31mmemory x")
            assert row.evidence.endswith("x in the end"), (
                "where Ray's tracebacks say what was wrong"
            )


def test_round_when_all_answer_strangely_fails_by_name_and_nothing_is_closed(
    network: Network,
) -> None:
    answer, _ = TRAIN["nothing"]
    with pytest.raises(RoundFailed, match="0 good contributions, 2 needed"):
        coordinate(network, app_where("train", answer, (0, 1, 2)))
    assert network.contract.study(network.study).head == 1
    lines = network.folders.rounds.read_text("utf-8").splitlines()
    assert [json.loads(line)["round"] for line in lines] == [1, 1], "each attempt is noted"
    assert all("failed" in json.loads(line) for line in lines)
    # The same study goes on as soon as its sites do.
    (told,) = coordinate(network, app_where("train", answer, ()))
    assert (told["round"], told["dropped"], closed_rounds(network)) == (1, [], 1)


def test_round_when_the_sites_recover_is_closed_in_the_next_attempt(network: Network) -> None:
    asked = []

    def once(message: Message, context: Context, call_next: Any) -> Any:
        asked.append(message)
        if len(asked) <= 2:
            raise OSError("the disk is busy")
        return call_next(message, context)

    (told,) = coordinate(network, app_where("train", once, (0, 1)))
    assert (told["round"], told["dropped"]) == (1, [])
    lines = [json.loads(text) for text in network.folders.rounds.read_text("utf-8").splitlines()]
    assert ["failed" in line for line in lines] == [True, False]
    assert closed_rounds(network) == 1


def test_round_when_a_site_never_answers_is_closed_in_time(tmp_path: Path) -> None:
    with network_in(tmp_path, reply_seconds=1.0, study={"rounds": 2}) as network:

        def availability(node: int, message: Message) -> Availability:
            silent = node == FIRST_NODE_ID and message.metadata.message_type == "train"
            return Availability.SILENT if silent else Availability.ONLINE

        told = coordinate(network, app_where("train", raising(OSError()), ()),
                          availability=availability)  # fmt: skip
        assert [row["dropped"] for row in told] == [
            [{"site": network.parties[0].name, "reason": "no_reply"}]
        ] * 2
        assert all(row["wall_seconds"] < 5 for row in told)


def test_rounds_when_a_site_is_silent_wait_for_it_once_and_name_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seconds, rounds, asked = 8.0, 3, Counter[str]()
    with network_in(tmp_path, reply_seconds=seconds, study={"rounds": rounds}) as network:

        def availability(node: int, message: Message) -> Availability:
            if node != FIRST_NODE_ID or message.metadata.message_type == "query":
                return Availability.ONLINE
            asked[f"{message.metadata.message_type} {message.metadata.group_id}"] += 1
            return Availability.SILENT

        told = coordinate(network, app_where("train", raising(OSError()), ()),
                          availability=availability)  # fmt: skip
        silent = network.parties[0]
    assert asked.keys() == {"train 1"}
    assert told[0]["wall_seconds"] >= seconds
    assert all(row["wall_seconds"] < seconds for row in told[1:])
    # Whether it was asked or not, each round says why it is not in it.
    assert [row["dropped"] for row in told] == [
        [{"site": silent.name, "reason": "no_reply"}]
    ] * rounds
    (said,) = [one.getMessage() for one in caplog.records if "did not answer" in one.getMessage()]
    assert said.startswith(f"{silent.name} ({silent.account.address}) did not answer (train)")
    assert "in 8 s, or when it reconnects" in said


def test_rounds_when_a_node_says_that_it_is_away_wait_for_it_once(tmp_path: Path) -> None:
    """It is connected, so its word does not make the study wait for it in every round."""
    asked = Counter[str]()

    def away(message: Message, *_: Any) -> Message:
        asked[message.metadata.group_id] += 1
        return Message(Error(ErrorCode.NODE_UNAVAILABLE, "away"), reply_to=message)

    with network_in(tmp_path, study={"rounds": 3}) as network:
        settings = network.folders.coordinator / "coordinator.toml"
        text = settings.read_text("utf-8")
        settings.write_text(text.replace("retry_seconds = 0", "retry_seconds = 10"), "utf-8")
        told = coordinate(network, app_where("train", away))
        dropped = {"site": network.parties[BAD].name, "reason": "unavailable"}
    assert asked["1"] > 2
    assert asked.keys() == {"1"}
    assert [row["dropped"] for row in told] == [
        [dropped],
        *[[{**dropped, "reason": "no_reply"}]] * 2,
    ]


def test_round_when_too_few_sites_are_left_asks_the_silent_again(tmp_path: Path) -> None:
    asked = Counter[str]()
    with network_in(tmp_path, reply_seconds=1.0, aggregation={"min_sites": 3}) as network:

        def availability(node: int, message: Message) -> Availability:
            if node != FIRST_NODE_ID or message.metadata.message_type != "train":
                return Availability.ONLINE
            asked[message.metadata.message_id] += 1
            return Availability.SILENT if len(asked) == 1 else Availability.ONLINE

        (told,) = coordinate(network, app_where("train", raising(OSError()), ()),
                             availability=availability)  # fmt: skip
    assert (told["dropped"], len(asked)) == ([], 2)


def test_site_when_silent_about_a_measure_trains_all_the_same(tmp_path: Path) -> None:
    asked = Counter[str]()
    with network_in(tmp_path, reply_seconds=1.0, study={"rounds": 2}) as network:

        def availability(node: int, message: Message) -> Availability:
            kind = message.metadata.message_type
            if node != FIRST_NODE_ID or kind != "evaluate":
                return Availability.ONLINE
            asked[message.metadata.group_id] += 1
            return Availability.SILENT

        told = coordinate(network, app_where("train", raising(OSError()), ()),
                          availability=availability)  # fmt: skip
    assert [row["dropped"] for row in told] == [[], []]
    # The first model was measured as the base of the second round.
    assert asked.keys() == {"2"}
    assert [len(row["measures"]) for row in told] == [3, 2]


def test_round_when_a_node_is_gone_says_unavailable(network: Network) -> None:
    def availability(node: int, message: Message) -> Availability:
        gone = node == FIRST_NODE_ID and message.metadata.message_type != "query"
        return Availability.UNAVAILABLE if gone else Availability.ONLINE

    app = app_where("train", raising(OSError()), ())
    (told,) = coordinate(network, app, availability=availability)
    assert told["dropped"] == [{"site": network.parties[0].name, "reason": "unavailable"}]
    assert network.parties[0].name not in told["accuracy"]


def counting(*odd: int, **values: Any) -> Answer:
    """Counts of 20 rows, which begin with the odd ones, in the place of the true ones."""
    counts = [*odd, *[0, 1] * BINS][: 2 * BINS]
    merged = {"counts": counts, "two_classes": True, "noise": 4.0, **values}
    fields = {key: value for key, value in merged.items() if value is not None}

    def strange(reply: Message) -> RecordDict:
        others, _ = Measured.part(fields_of(reply))
        content = {**reply.content, FIELDS: ConfigRecord({**others, **fields})}  # type: ignore[dict-item]
        return RecordDict(content)

    return replying(strange)


#: In answer to a question of its own.
MEASURES: dict[str, Answer] = {
    "nothing": replying(lambda reply: RecordDict()),
    "another record": replying(lambda reply: RecordDict({"metrics": MetricRecord({"a": 1})})),
    "metrics": replying(lambda reply: RecordDict({FIELDS: MetricRecord({"counts": [1] * 40})})),
    "an exception": raising(ValueError("no test rows")),
    "no message": lambda *_: None,
    "too few": counting(counts=[1] * (2 * BINS - 1)),
}
#: Beside a contribution; what belongs to neither makes that malformed.
COUNTS: dict[str, Answer] = {
    "none": replying(
        lambda reply: RecordDict(
            {
                **reply.content,  # type: ignore[dict-item]
                FIELDS: ConfigRecord(Measured.part(fields_of(reply))[0]),  # type: ignore[arg-type]
            }
        )
    ),
    "no counts": counting(counts=None),
    "one number": counting(counts=20),
    "too few": counting(counts=[1] * (2 * BINS - 1)),
    "too many": counting(counts=[1] * (2 * BINS + 1)),
    "rates": counting(counts=[0.5] * 2 * BINS),
    "no noise named": counting(noise=None),
    "noise of NaN": counting(noise=nan),
    "infinite noise": counting(noise=inf),
    "noise below zero": counting(noise=-1.0),
    "less than none": counting(-1, noise=0.0),
    "less than noise can do": counting(-41),
    "more rows than there are atoms": counting(10**18),
}


@pytest.mark.parametrize("how", MEASURES)
def test_measure_of_the_last_model_when_strange_is_left_out(network: Network, how: str) -> None:
    (told,) = coordinate(network, app_where("evaluate", MEASURES[how]))
    assert told["measures"].keys() == {party.name for party in network.parties[1:]}
    assert told["dropped"] == []


@pytest.mark.parametrize(("bad", "measured"), [((0,), 2), ((0, 1, 2), 3)])
def test_measure_when_sites_do_not_train_is_asked_for_by_itself_if_none_does(
    tmp_path: Path, bad: tuple[int, ...], measured: int
) -> None:
    def refusing(message: Message, context: Context, call_next: Any) -> Message:
        if int(message.metadata.group_id) == 1:
            return call_next(message, context)
        raise ValueError("enough")

    with network_in(tmp_path, study={"rounds": 2}, aggregation={"min_sites": 2}) as network:
        with suppress(RoundFailed):
            coordinate(network, app_where("train", refusing, bad))
        (first, *_) = network.folders.rounds.read_text("utf-8").splitlines()
    assert len(json.loads(first)["measures"]) == measured


def test_measures_when_strange_are_left_out(tmp_path: Path) -> None:
    """Whatever a site measures on its own test rows, its round closes and its line is JSON."""
    rounds = len(COUNTS) + 1
    policy = {f"site-{number}": {"measured_models": rounds} for number in (1, 2, 3)}

    def honestly(message: Message, context: Context, call_next: Any) -> Any:
        return call_next(message, context)

    with network_in(tmp_path, study={"rounds": rounds}, policy=policy) as network:
        told = coordinate(network, app_where("train", in_turn([honestly, *COUNTS.values()])))
    bad = network.parties[BAD].name
    lines = network.folders.rounds.read_text("utf-8").splitlines()
    assert told.pop()["accuracy"].keys() == {party.name for party in network.parties}
    for how, one, line in zip(COUNTS, told, lines, strict=False):
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert one["accuracy"].keys() == {p.name for p in network.parties} - {bad}, how
        assert one["dropped"] == [], how
        assert 0 <= one["pooled_accuracy"] <= 1, how


def test_accuracy_when_nobody_can_measure_is_absent(network: Network) -> None:
    (told,) = coordinate(network, app_where("evaluate", MEASURES["an exception"], (0, 1, 2)))
    assert (told["accuracy"], told["pooled_accuracy"], told["pooled_log_loss"]) == ({}, None, None)


def introducing(**fields: Any) -> Answer:
    return replying(lambda reply: RecordDict({FIELDS: ConfigRecord(fields)}))


INTRODUCTIONS: dict[str, Answer] = {
    "nothing": replying(lambda reply: RecordDict()),
    "no address": introducing(site="nobody", name="x"),
    "a stranger": introducing(site="0x" + "5a" * 20, name="stranger"),
    "a name that steers terminals": introducing(site="0x" + "5a" * 20, name="\x1b[31m"),
    "an exception": raising(ValueError("no key")),
    "no message": lambda *_: None,
}


@pytest.mark.parametrize("how", INTRODUCTIONS)
def test_site_when_it_cannot_say_who_it_is_is_not_asked(network: Network, how: str) -> None:
    (told,) = coordinate(network, app_where("query", INTRODUCTIONS[how]))
    assert set(told["contributors"]) == {party.name for party in network.parties[1:]}
    assert told["dropped"] == []


def test_site_when_others_take_its_address_is_heard_all_the_same(tmp_path: Path) -> None:
    """Bad nodes claim the address of a good one, in whatever order: the good one still counts."""
    with network_in(tmp_path, aggregation={"min_sites": 1}) as network:
        heard(network)


def heard(network: Network) -> None:
    victim = network.parties[1]
    claim = introducing(site=victim.account.address, name=victim.name)
    (told,) = coordinate(network, app_where("query", claim, (0, 2)))
    assert told["contributors"] == [victim.name]
    assert told["dropped"] == []


def test_round_when_too_few_nodes_connect_fails_by_name(tmp_path: Path) -> None:
    with (
        network_in(tmp_path, reply_seconds=0.3) as network,
        pytest.raises(RoundFailed, match="too few nodes connected"),
    ):
        run_in_process(
            make_server_app(),
            app_where("train", raising(OSError()), ()),
            [{}],
            {"network": str(network.folders.root)},
        )


def test_study_when_it_is_over_asks_nobody(network: Network) -> None:
    app = app_where("train", raising(OSError()), ())
    coordinate(network, app)
    assert coordinate(network, app_where("train", raising(OSError()), (0, 1, 2))) == []
    assert closed_rounds(network) == 1


def test_round_when_another_takes_it_over_is_let_go_while_a_site_is_asked_again(
    tmp_path: Path,
) -> None:
    """Not only after the minute in which a site that is away may come back."""
    tables = {"chain": {"round_seconds": 60, "grace_seconds": 12, "bond": "50"}}
    asked: list[float] = []
    with prepared(small_scenario(**tables), tmp_path / "network", standbys=1) as network:
        settings = network.folders.coordinator / "coordinator.toml"
        text = settings.read_text("utf-8")
        settings.write_text(text.replace("retry_seconds = 0", "retry_seconds = 60"), "utf-8")

        def away(message: Message, *_: Any) -> Message:
            if not asked:
                network.contract.chain.advance(70)
                network.contract.take_over(network.keys.standbys[0], network.study)
            asked.append(time.monotonic())
            return Message(Error(ErrorCode.NODE_UNAVAILABLE, "away"), reply_to=message)

        coordinate(network, app_where("train", away))
        assert len(asked) <= 2
        assert network.contract.study(network.study).head == 1


def test_server_when_no_network_is_named_says_what_to_do() -> None:
    with pytest.raises(ScenarioError, match="wardround simulate"):
        run_in_process(make_server_app(), ClientApp(), [{}], {"network": ""})


def test_round_when_the_next_is_found_locked_is_reported_before_that_closes() -> None:
    position, noted = SimpleNamespace(round=2, base=None), []
    facts = SimpleNamespace(params=SimpleNamespace(rounds=3))

    class Locked(WardroundStrategy):
        """Of a round that another has locked: its session takes no answer."""

        def _messages(self, *_: Any) -> list[Message]:
            return []

        def _meet(self, *_: Any, **__: Any) -> int:
            return 0

        def _measure(self, *_: Any) -> None:
            return None

        def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
            noted.append("closed")
            self._closed = SimpleNamespace(facts="of 2")
            self._position = SimpleNamespace(round=3)
            return None, None

    session = SimpleNamespace(facts=facts, check_standing=lambda _: None, is_locked=lambda _: True)
    strategy: Any = Locked(session, 1, 1.0, 1, on_round=lambda one: noted.append(one.facts))  # type: ignore[arg-type]
    strategy._assignment = lambda _: TrainTask(*[None] * 4)  # type: ignore[arg-type]
    strategy._position, strategy._unreported = position, RoundResult("of 1", {}, 0.0)  # type: ignore[arg-type]
    with (
        patch.object(TrainTask, "fields", lambda _: {}),
        patch("wardround_coordinator.strategy._vector_record", lambda _: ArrayRecord()),
    ):
        strategy._run_round(SimpleNamespace(get_node_ids=list))
    assert noted == ["of 1", "closed"]
