"""The index is what the chain is, whatever happens in between."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.explorer.worlds import World, content, faulty, follower, world
from tests.odd_tokens import HOSTILE, contract_of
from wardround.chain.errors import ChainUnreachable
from wardround.explorer.errors import ExplorerError, IndexUnusable, NodeUnreliable
from wardround.explorer.events import EventFilter, list_events
from wardround.explorer.index.database import open_writer
from wardround.explorer.index.follow import Extended, Overtaken, RolledBack, UpToDate
from wardround.explorer.indexer import Indexer
from wardround.explorer.looking import indexed
from wardround.explorer.news import IndexWatch
from wardround.explorer.reader import Reader
from wardround.explorer.rounds import read_open_round, read_round
from wardround.explorer.studies import read_study, study_rounds
from wardround.protocol.identifiers import hex_of
from wardround.protocol.record import PARAMS_BYTES, StudyParties


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made


def wait_for(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


def test_reorganisation_is_followed_to_the_byte(shared: World, tmp_path: Path) -> None:
    stage, path = shared.stage(), tmp_path / "index.sqlite"
    stage.close(shared.parties.first)
    indexer = Indexer(shared.source(), path)
    indexer.catch_up()
    snapshot = shared.chain.rpc("evm_snapshot")
    stage.close(shared.parties.first)
    stage.close(shared.parties.first)
    indexer.catch_up()
    reader = Reader(path)
    news = IndexWatch(reader)
    study = hex_of(stage.study)
    assert read_study(reader, study).summary.closed == 3
    gone = read_round(reader, study, 2).summary.block_hash

    shared.chain.rpc("evm_revert", snapshot)
    shared.chain.advance(100)
    stage.close(shared.parties.first)
    indexer.catch_up()
    indexer.close()

    assert read_study(reader, study).summary.closed == 2
    assert read_round(reader, study, 2).summary.block_hash != gone
    assert [one.round for one in study_rounds(reader, study).rows] == [2, 1]
    assert {one.contributions for one in read_study(reader, study).members} == {2}
    seen = reader.health()
    assert (seen.reorganisations, seen.last_reorganisation.events_removed) == (1, 10)  # type: ignore[union-attr]
    found = news.poll()
    assert found is not None
    assert [one.events_removed for one in found.reorganisations] == [10]
    assert [one.name for one in found.events] == ["Contributed"] * 4 + ["RoundClosed"]
    assert news.poll() is None
    reader.close()
    assert content(path) == content(shared.fresh(tmp_path / "fresh.sqlite"))


def test_chain_that_became_shorter_is_followed(shared: World, tmp_path: Path) -> None:
    stage, path = shared.stage(), tmp_path / "index.sqlite"
    snapshot = shared.chain.rpc("evm_snapshot")
    stage.close(shared.parties.first)
    db = open_writer(path, shared.source().identity)
    follow = follower(shared.source(), db)
    follow.catch_up()
    shared.chain.rpc("evm_revert", snapshot)
    shared.chain.advance(7)
    assert isinstance(follow.step(), RolledBack)
    assert isinstance(follow.step(), Extended)
    assert isinstance(follow.step(), UpToDate)
    db.close()


def test_node_that_is_behind_rolls_nothing_back(shared: World, tmp_path: Path) -> None:
    shared.chain.advance(5)
    chain, provider = faulty(shared.chain)
    source = shared.source(chain)
    db = open_writer(tmp_path / "index.sqlite", source.identity)
    follow = follower(source, db)
    follow.catch_up()
    old = shared.chain.rpc("eth_getBlockByNumber", hex(shared.chain.block().number - 2), False)
    provider.fault = lambda method, params, result: (
        old if method == "eth_getBlockByNumber" and params[0] == "latest" else result
    )
    step = follow.step()
    assert isinstance(step, UpToDate)
    assert step.behind == 2
    db.close()


def test_a_folder_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(IndexUnusable, match=r"unable to open database file"):
        open_writer(tmp_path, {})


def test_another_chain_is_refused(shared: World, tmp_path: Path) -> None:
    path = shared.fresh(tmp_path / "index.sqlite")
    before = content(path)
    with world(tmp_path, genesis_seconds=1_700_000_000) as other:
        for _ in range(3):
            other.chain.advance(1)
        source = other.source()
        with pytest.raises(IndexUnusable, match="its contract is"):
            Indexer(source, path)
        # The same ids and addresses on a restarted chain: only the hashes differ.
        db = open_writer(path, {})
        follow = follower(source, db)
        with pytest.raises(IndexUnusable, match="this is another chain"):
            while not isinstance(follow.step(), UpToDate):
                pass
        db.close()
    assert content(path) == before


def test_two_writers_make_one_index(shared: World, tmp_path: Path) -> None:
    path, source = tmp_path / "index.sqlite", shared.source()
    first, second = (open_writer(path, source.identity) for _ in range(2))
    one, two = follower(source, first), follower(source, second)
    one._span = two._span = 5
    threads = [threading.Thread(target=one.catch_up), threading.Thread(target=two.catch_up)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    first.close()
    second.close()
    found = content(path)
    expected = content(shared.fresh(tmp_path / "fresh.sqlite"))
    for table in ("block", "event", "study", "member", "closing", "events"):
        assert found[table] == expected[table]


def test_index_that_moved_meanwhile_takes_nothing_in(shared: World, tmp_path: Path) -> None:
    path, source = tmp_path / "index.sqlite", shared.source()
    first, second = (open_writer(path, source.identity) for _ in range(2))
    one, two = follower(source, first), follower(source, second)
    read = one.node.range

    def slow(*span: int) -> Any:
        found = read(*span)
        two.step()
        return found

    one.node.range = slow  # type: ignore[method-assign]
    assert isinstance(one.step(), Overtaken)
    first.close()
    second.close()


# ---------------------------------------------------------------- nodes that fail


def alter_block(name: str, value: str, number: str) -> Any:
    def fault(method: str, params: Any, result: Any) -> Any:
        if method == "eth_getBlockByNumber" and result and result["number"] == number:
            return {**result, name: value}
        return result

    return fault


def alter_logs(change: Any) -> Any:
    def fault(method: str, params: Any, result: Any) -> Any:
        return change(result) if method == "eth_getLogs" else result

    return fault


def first_contributed(logs: list[Any]) -> int:
    return next(
        place
        for place, log in enumerate(logs)
        if sum(one["transactionHash"] == log["transactionHash"] for one in logs) == 5
    )


def without_one(logs: list[Any]) -> list[Any]:
    place = first_contributed(logs)
    return logs[:place] + logs[place + 1 :]


def without_block(logs: list[Any]) -> list[Any]:
    return [log for log in logs if log["blockNumber"] != logs[-1]["blockNumber"]]


def with_coordinator(logs: list[Any]) -> list[Any]:
    """The creation with another first coordinator: its lists are the last words of its data."""
    data = logs[0]["data"]
    place = 2 + 64 * (PARAMS_BYTES // 32 + 3)
    return [
        {**logs[0], "data": data[:place] + "0" * 24 + "ab" * 20 + data[place + 64 :]},
        *logs[1:],
    ]


def with_topic(logs: list[Any]) -> list[Any]:
    changed = {**logs[0], "topics": ["0x" + "ab" * 32, *logs[0]["topics"][1:]]}
    return [changed, *logs[1:]]


def with_data(logs: list[Any]) -> list[Any]:
    place = first_contributed(logs)
    changed = {**logs[place], "data": logs[place]["data"] + "00" * 32}
    return [*logs[:place], changed, *logs[place + 1 :]]


def with_weight_of_65_bits(logs: list[Any]) -> list[Any]:
    place = first_contributed(logs)
    data = logs[place]["data"]
    changed = {**logs[place], "data": data[:130] + "f" * 64 + data[194:]}
    return [*logs[:place], changed, *logs[place + 1 :]]


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (alter_block("stateRoot", "0x" + "ab" * 32, "0x2"), NodeUnreliable, "its fields give"),
        (alter_block("hash", "0x" + "ab" * 32, "0x2"), NodeUnreliable, "its fields give"),
        (alter_block("parentHash", "0x" + "ab" * 32, "0x2"), NodeUnreliable, "its fields give"),
        (alter_block("number", "0x3", "0x2"), NodeUnreliable, "its fields give"),
        (alter_block("timestamp", "soon", "0x2"), NodeUnreliable, "malformed"),
        (alter_logs(lambda logs: logs[::-1]), NodeUnreliable, "out of order"),
        (alter_logs(lambda logs: logs + logs[-1:]), NodeUnreliable, "repeat"),
        (alter_logs(lambda logs: [{"data": "0x"}]), NodeUnreliable, "malformed"),
        (
            alter_logs(lambda logs: [{**logs[0], "blockNumber": "0x1"}]),
            NodeUnreliable,
            "is of block",
        ),
        (
            alter_logs(lambda logs: [{**one, "blockHash": "0x" + "cd" * 32} for one in logs]),
            NodeUnreliable,
            "the chain has changed meanwhile",
        ),
        (alter_logs(without_block), NodeUnreliable, "eth_getLogs does not give"),
        (alter_logs(lambda logs: []), NodeUnreliable, "eth_getLogs does not give"),
        (alter_logs(without_one), NodeUnreliable, "its record has 4 entries"),
        (alter_logs(with_coordinator), NodeUnreliable, "names other coordinators or auditors"),
        (alter_logs(lambda logs: {"no": "list"}), ChainUnreachable, "does not"),
    ],
)
def test_node_that_fails_is_named_and_nothing_is_taken_in(
    shared: World, tmp_path: Path, fault: Any, error: type[Exception], words: str
) -> None:
    if not shared.stages:
        shared.stage().close(shared.parties.first)
    chain, provider = faulty(shared.chain)
    source, path = shared.source(chain), tmp_path / "index.sqlite"
    db = open_writer(path, source.identity)
    follow = follower(source, db)
    provider.fault = fault
    with pytest.raises(error, match=words):
        while not isinstance(follow.step(), UpToDate):
            pass
    assert db.execute("SELECT count(*) FROM event").fetchone() == (0,)
    # Once it tells the truth, everything is there.
    provider.fault = None
    follow.catch_up()
    db.close()
    expected = content(shared.fresh(tmp_path / "fresh.sqlite"))
    found = content(path)
    assert all(found[one] == expected[one] for one in ("block", "event", "study", "closing"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_topic, "has no event 0xabab"),
        (with_data, "bytes of data where"),
        (with_weight_of_65_bits, "an integer of more than 64 bits"),
    ],
)
def test_event_that_cannot_be_read_stops_the_index_at_its_place(
    shared: World, tmp_path: Path, change: Any, words: str
) -> None:
    if not shared.stages:
        shared.stage().close(shared.parties.first)
    chain, provider = faulty(shared.chain)
    source, path = shared.source(chain), tmp_path / "index.sqlite"
    provider.fault = alter_logs(change)
    indexer = Indexer(source, path)
    with pytest.raises(ExplorerError, match=rf"^block \d+, log \d+: .*{words}") as caught:
        indexer.run(threading.Event())
    reader = Reader(path)
    health = reader.health()
    assert health.state == "stopped"
    assert health.trouble == str(caught.value)
    assert list_events(reader).rows == []
    reader.close()
    indexer.close()


def test_token_that_answers_anything_harms_no_study(shared: World, tmp_path: Path) -> None:
    stage, sponsor = shared.stage(), shared.parties.sponsor
    named = StudyParties.of([sponsor.address], [])
    tokens = [contract_of(shared.chain, sponsor, code) for code in HOSTILE.values()]
    for token in tokens:
        params = replace(stage.params, token=token, auditor_quorum=0, parties=named.digest)
        shared.ward.create_study(sponsor, params, named)
    path = tmp_path / "index.sqlite"
    with indexed(shared.source(), path, follow=True) as reader:
        wait_for(lambda: reader.health().state == "following")

        def asked() -> set[str]:
            with reader.look() as db:
                return {one.lower() for (one,) in db.execute("SELECT address FROM token")}

        wait_for(lambda: asked() >= {one.lower() for one in tokens})
        stage.close(shared.parties.first)
        wait_for(lambda: read_study(reader, hex_of(stage.study)).summary.closed == 1)
        assert reader.health().state == "following"


def test_error_of_any_kind_that_ends_the_thread_is_told(
    shared: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chain, provider = faulty(shared.chain)
    source = shared.source(chain)

    def broken(method: str, params: Any, result: Any) -> Any:
        raise ZeroDivisionError("no number")

    provider.fault = broken
    with indexed(source, tmp_path / "index.sqlite", follow=True) as reader:
        wait_for(lambda: reader.health().state == "stopped")
        assert reader.health().trouble == "ZeroDivisionError: no number"
    assert "index stopped: no number [ZeroDivisionError]" in capfd.readouterr().err


def test_node_that_goes_away_is_waited_for(shared: World, tmp_path: Path) -> None:
    chain, provider = faulty(shared.chain)
    source, path = shared.source(chain), tmp_path / "index.sqlite"
    indexer, stop = Indexer(source, path), threading.Event()

    def away(method: str, params: Any, result: Any) -> Any:
        raise ConnectionError("gone")

    thread = threading.Thread(target=indexer.run, args=(stop,))
    thread.start()
    reader = Reader(path)
    try:
        wait_for(lambda: reader.health().state == "following")
        provider.fault = away
        wait_for(lambda: reader.health().state == "waiting")
        assert "does not answer" in reader.health().trouble
        provider.fault = None
        stage = shared.stage()
        stage.close(shared.parties.first)
        wait_for(lambda: reader.health().state == "following")
        chosen = EventFilter(study=hex_of(stage.study), name="RoundClosed")
        wait_for(lambda: len(list_events(reader, chosen).rows) == 1)
        assert read_open_round(reader, hex_of(stage.study)).round == 2
    finally:
        stop.set()
        thread.join(20)
        reader.close()
        indexer.close()
    assert not thread.is_alive()


_INDEX_ALL = """
import sys
from pathlib import Path
from wardround.explorer.indexer import Indexer
from wardround.explorer.looking import indexed
from wardround.explorer.source import chain_source
url, contract, path = sys.argv[1:]
with chain_source(url, contract, first_block=0) as source:
    indexer = Indexer(source, Path(path))
    indexer.follower._span = 1  # many transactions, so that a kill falls between and into them
    while True:
        print(indexer.follower.step(), flush=True)
"""


@pytest.mark.deep
def test_index_goes_on_after_it_was_killed_anywhere(shared: World, tmp_path: Path) -> None:
    stage, path = shared.stage(rounds=4), tmp_path / "index.sqlite"
    for _ in range(4):
        stage.close(shared.parties.first)
    shared.chain.rpc("anvil_mine", hex(300))
    tips = []
    for kill in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", _INDEX_ALL, shared.anvil.url, shared.ward.address, str(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for _ in range(3 + 37 * kill):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        process.stdout.close()
        reader = Reader(path)
        tips.append(reader.extent().last_block)
        reader.close()
    assert tips == sorted(tips)
    assert tips[0] < tips[-1]
    indexer = Indexer(shared.source(), path)
    indexer.catch_up()
    indexer.close()
    assert content(path) == content(shared.fresh(tmp_path / "fresh.sqlite"))
