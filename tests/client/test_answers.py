"""A site that is asked again gives the answer that it has signed, without training again."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.client.guard.conftest import Ward, approve, asked_of, guarded, make
from tests.client.guard.trainers import Altered
from wardround.protocol.fixed_point import Int32Vector, vector_bytes
from wardround.protocol.identifiers import Root
from wardround.protocol.messages import TrainReply, TrainTask
from wardround.protocol.record import genesis_closing
from wardround_client.guard.answers import KeptAnswers
from wardround_client.guard.client import guard_of
from wardround_client.home import Home
from wardround_simulations.network import Network

Answer = tuple[TrainReply, Int32Vector]


@pytest.fixture(scope="module")
def answer(network: Network) -> Answer:
    guard = guard_of(network.home(network.parties[0]))
    return guard.train(asked_of(network).task, network.initial.values)


@pytest.fixture
def task(network: Network) -> TrainTask:
    return asked_of(network).task


@pytest.fixture
def kept(task: TrainTask, answer: Answer, tmp_path: Path) -> KeptAnswers:
    made = KeptAnswers(tmp_path / "answers")
    made.keep(task, *answer)
    return made


def file_in(folder: Path) -> Path:
    (found,) = folder.glob("*.safetensors")
    return found


def test_answer_when_kept_is_found_as_it_was(
    kept: KeptAnswers, task: TrainTask, answer: Answer
) -> None:
    found = kept.find(task)
    assert found is not None
    assert (found[0], vector_bytes(found[1])) == (answer[0], vector_bytes(answer[1]))


def test_answer_is_for_the_sites_user_only(kept: KeptAnswers, task: TrainTask) -> None:
    assert kept.folder.stat().st_mode & 0o077 == 0
    assert file_in(kept.folder).name.startswith(f"0x{task.study.hex()}-1-")


def test_answer_when_another_round_or_base_is_asked_for_is_not_given(
    network: Network, kept: KeptAnswers, task: TrainTask
) -> None:
    assert kept.find(replace(task, round=2)) is None
    other = genesis_closing(network.params.initial_model)
    assert kept.find(replace(task, previous=replace(other, closed_at=1))) is None
    assert kept.find(replace(task, params=replace(network.params, rounds=99))) is None


def test_answer_stays_until_its_round_is_final(
    kept: KeptAnswers, task: TrainTask, answer: Answer
) -> None:
    """A round that is overturned opens again, and asks for what was registered for it."""
    delivery, update = answer
    later = replace(task, round=2)
    other = replace(task, previous=replace(task.previous, closed_at=1))
    kept.keep(later, replace(delivery, round=2), update)
    kept.keep(other, delivery, update)
    assert [kept.find(one) is not None for one in (task, later, other)] == [True] * 3
    root = delivery.entry.update
    for number, found in ((1, True), (2, True), (3, False)):
        assert (kept.find_update(task.params, number, root) is not None) is found
    assert kept.find_update(task.params, 1, Root(bytes(32))) is None

    (study,) = kept.studies()
    kept.erase(study, 1)
    assert [kept.find(one) is not None for one in (task, later, other)] == [False, True, False]
    kept.erase(study, 2)
    assert kept.studies() == set()


def test_answers_to_a_study_are_bounded_and_the_oldest_go(
    kept: KeptAnswers, task: TrainTask, answer: Answer
) -> None:
    os.utime(file_in(kept.folder), ns=(0, 0))
    most = 2 * task.params.rounds
    others = [replace(task, previous=replace(task.previous, closed_at=n + 1)) for n in range(most)]
    for other in others:
        kept.keep(other, *answer)
    assert kept.find(task) is None
    assert all(kept.find(other) is not None for other in others)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_answer_when_a_byte_is_altered_is_not_given(
    kept: KeptAnswers, task: TrainTask, answer: Answer, data: st.DataObject
) -> None:
    kept.keep(task, *answer)
    file = file_in(kept.folder)
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    found = kept.find(task)
    # Spaces between the header and the vector mean nothing: then it is what it was.
    if found is not None:
        assert (found[0], vector_bytes(found[1])) == (answer[0], vector_bytes(answer[1]))


# ---------------------------------------------------------------- the guard that keeps it


@pytest.fixture
def home(network: Network, tmp_path: Path) -> Home:
    made = make(network, tmp_path / "home")
    approve(network, made)
    return made


@pytest.mark.parametrize("left", [b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{}", b"\x00" * 100])
def test_answer_when_the_file_is_something_else_is_trained_again(
    network: Network, home: Home, left: bytes
) -> None:
    trainer = Altered()
    with guarded(network, home, trainer=trainer) as guard:
        ward = Ward(network, home, guard)
        first, _ = ward.train()
        file_in(home.answers).write_bytes(left)
        assert ward.train()[0] == first
        assert len(trainer.trained) == 2
        assert ward.train()[0] == first
        assert len(trainer.trained) == 2


def test_answer_when_its_content_was_never_signed_is_trained_again(
    network: Network, home: Home, task: TrainTask
) -> None:
    """Who can write the site's folder cannot have the guard give what it did not sign."""
    trainer = Altered()
    with guarded(network, home, trainer=trainer) as guard:
        ward = Ward(network, home, guard)
        first, update = ward.train()
        forged = replace(first.entry, weight=first.entry.weight + 1)
        KeptAnswers(home.answers).keep(task, replace(first, entry=forged), update)
        assert ward.train()[0] == first
        assert len(trainer.trained) == 2


def test_site_when_its_disk_takes_nothing_answers_all_the_same(
    network: Network, home: Home
) -> None:
    home.answers.write_bytes(b"a file, where a folder belongs")
    trainer = Altered()
    with guarded(network, home, trainer=trainer) as guard:
        ward = Ward(network, home, guard)
        assert ward.train()[0] == ward.train()[0]
        assert len(trainer.trained) == 2
        assert len(ward.signed()) == 1
        assert [line["kind"] for line in ward.log()].count("answer not kept") == 2
