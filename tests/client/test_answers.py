"""A site that is asked again gives the answer that it has signed, without training again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wardround_client.app.answers import KeptAnswers
from wardround_client.app.site import Site

from tests.integration.networks import prepared, small_scenario
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.fixed_point import vector_bytes
from wardround.protocol.messages import TrainTask
from wardround.protocol.record import genesis_closing
from wardround_client.app.client_app import open_home
from wardround_client.guard.client import Guarded
from wardround_client.guard.requests import Begun, SignedAnswer
from wardround_simulations.network import Network


class Counted:
    """A guard that counts: what is signed was trained before."""

    def __init__(self, inner: Guarded) -> None:
        self.inner, self.begun, self.signed = inner, 0, 0

    def ask(self, kind: Any, request: dict[str, Any], parts: Sequence[bytes] = ()) -> Any:
        self.begun += kind is Begun
        self.signed += kind is SignedAnswer
        return self.inner.ask(kind, request, parts)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with prepared(small_scenario(), tmp_path_factory.mktemp("answers") / "network") as made:
        yield made


@pytest.fixture
def task(network: Network) -> TrainTask:
    return TrainTask(
        network.params,
        genesis_closing(network.params.initial_model),
        1,
        canonical_bytes(network.scenario.specification.document()),
    )


def site_of(network: Network, answers: Path) -> tuple[Site, Counted]:
    site = open_home(str(network.home(network.parties[0]).folder))
    counted = Counted(site.guard)
    return replace(site, guard=counted, answers=KeptAnswers(answers)), counted


def file_in(folder: Path) -> Path:
    (found,) = folder.glob("*.safetensors")
    return found


def test_site_when_asked_again_gives_the_same_answer_without_training(
    network: Network, task: TrainTask, tmp_path: Path
) -> None:
    site, counted = site_of(network, tmp_path / "answers")
    first, update = site.contribute(task, network.initial.values)
    # As after a restart: nothing but the disk is left.
    again, same = site_of(network, tmp_path / "answers")[0].contribute(task, network.initial.values)
    assert again == first
    assert vector_bytes(same) == vector_bytes(update)
    assert site.contribute(task, network.initial.values)[0] == first
    # Whether the site still takes part is asked each time.
    assert (counted.begun, counted.signed) == (2, 1)


class Held(Counted):
    """A guard that signs when it is let."""

    def __init__(self, inner: Guarded) -> None:
        super().__init__(inner)
        self.trained, self.let = threading.Event(), threading.Event()

    def ask(self, kind: Any, request: dict[str, Any], parts: Sequence[bytes] = ()) -> Any:
        if kind is SignedAnswer:
            self.trained.set()
            assert self.let.wait(60)
        return super().ask(kind, request, parts)


def test_site_when_asked_again_while_it_trains_does_not_train_twice(
    network: Network, task: TrainTask, tmp_path: Path
) -> None:
    site, _ = site_of(network, tmp_path / "answers")
    held = Held(site.guard)
    again, counted = site_of(network, tmp_path / "answers")
    with ThreadPoolExecutor(2) as pool:
        values = network.initial.values
        first = pool.submit(replace(site, guard=held).contribute, task, values)
        assert held.trained.wait(60)
        second = pool.submit(again.contribute, task, values)
        time.sleep(0.3)
        assert not second.done()
        held.let.set()
        assert first.result(60)[0] == second.result(60)[0]
    assert (held.signed, counted.signed) == (1, 0)


def test_answer_is_for_the_sites_user_only(
    network: Network, task: TrainTask, tmp_path: Path
) -> None:
    site, _ = site_of(network, tmp_path / "answers")
    site.contribute(task, network.initial.values)
    assert (tmp_path / "answers").stat().st_mode & 0o077 == 0
    assert file_in(tmp_path / "answers").name == "0x" + task.study.hex() + ".safetensors"


def test_answer_when_another_round_or_base_is_asked_for_is_not_given(
    network: Network, task: TrainTask, tmp_path: Path
) -> None:
    site, _ = site_of(network, tmp_path / "answers")
    site.contribute(task, network.initial.values)
    kept = KeptAnswers(tmp_path / "answers")
    assert kept.find(task) is not None
    assert kept.find(replace(task, round=2)) is None
    other = genesis_closing(network.params.initial_model)
    assert kept.find(replace(task, previous=replace(other, closed_at=1))) is None
    params = replace(network.params, rounds=99)
    assert kept.find(replace(task, params=params)) is None


def test_answer_of_the_round_before_is_replaced(
    network: Network, task: TrainTask, tmp_path: Path
) -> None:
    kept = KeptAnswers(tmp_path / "answers")
    site, _ = site_of(network, tmp_path / "answers")
    delivery, update = site.contribute(task, network.initial.values)
    later = replace(task, round=2)
    kept.keep(later, replace(delivery, round=2), update)
    assert kept.find(task) is None
    assert kept.find(later) is not None
    assert len(list((tmp_path / "answers").glob("*.safetensors"))) == 1


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_answer_when_a_byte_is_altered_is_trained_again(
    network: Network,
    task: TrainTask,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("altered") / "answers"
    site, _ = site_of(network, folder)
    first, update = site.contribute(task, network.initial.values)
    file = file_in(folder)
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    found = KeptAnswers(folder).find(task)
    # Spaces between the header and the vector mean nothing: then it is what it was.
    if found is not None:
        assert (found[0], vector_bytes(found[1])) == (first, vector_bytes(update))


@pytest.mark.parametrize("kept", [b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{}", b"\x00" * 100])
def test_answer_when_the_file_is_something_else_is_trained_again(
    network: Network, task: TrainTask, tmp_path: Path, kept: bytes
) -> None:
    site, counted = site_of(network, tmp_path / "answers")
    site.contribute(task, network.initial.values)
    file_in(tmp_path / "answers").write_bytes(kept)
    site.contribute(task, network.initial.values)
    assert counted.signed == 2


def test_site_when_its_disk_takes_nothing_answers_all_the_same(
    network: Network, task: TrainTask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "answers").write_bytes(b"a file, where a folder belongs")
    site, counted = site_of(network, tmp_path / "answers")
    site.contribute(task, network.initial.values)
    site.contribute(task, network.initial.values)
    assert counted.signed == 2
    assert "could not be kept" in capsys.readouterr().err
