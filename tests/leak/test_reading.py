"""What is read of a chain and a store: closings that count, and those that were overturned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chain.staged import Theatre, theatre
from tests.integration.networks import copied, finished_run, run, small_scenario
from wardround.audit.finished import FinishedRun, NetworkFile, open_run
from wardround.audit.folders import Folders
from wardround.leak.reading import Reading, Role, read_measures, read_run
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import hex_of
from wardround.protocol.version import PROTOCOL
from wardround_simulations import cheats
from wardround_simulations.cheats import Cheater


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Theatre]:
    with theatre(tmp_path) as staged:
        yield staged


def test_round_when_it_was_overturned_stays_readable_as_an_attempt(scene: Theatre) -> None:
    stage = scene.stage()
    stage.close(scene.parties.first)
    cheats.shift_a_coordinate(Cheater(stage, scene.parties.first))
    accused, contested = scene.accused(stage, 2), scene.contested(stage, 2)
    assert scene.court.challenge(scene.parties.auditor, contested, accused.coordinate())
    stage.close(scene.parties.standby)
    sites = {f"site-{n}": address.lower() for n, address in enumerate(stage.facts.members)}
    file = NetworkFile(
        protocol=PROTOCOL,
        format="wardround-network/1",
        scenario="staged",
        chain_id=31337,
        chain=scene.chain.url,
        contract=scene.ward.address.lower(),
        token=scene.token.address.lower(),
        study=hex_of(stage.study),
        sites=sites,
    )
    opened = FinishedRun(
        Folders(scene.folder), file, scene.chain, scene.ward, stage.study, stage.store, None
    )
    reading = read_run(opened, "reader")
    assert [(one.round, one.counts) for one in reading.rounds] == [
        (1, True),
        (2, False),
        (2, True),
    ]
    first, attempt, second = reading.rounds
    assert (attempt.base == first.model).all()
    assert (second.base == first.model).all()
    assert [one.round for one in reading.standing] == [1, 2]


def read(folder: Path, role: Role) -> Reading:
    with open_run(folder) as opened:
        return read_run(opened, role)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.getbasetemp())


def test_rounds_of_a_run_add_up_to_its_models(finished: Path) -> None:
    reading = read(finished, "reader")
    assert [one.round for one in reading.rounds] == [1, 2, 3]
    assert reading.measures == ()
    for before, after in zip(reading.rounds, reading.rounds[1:], strict=False):
        assert (before.model == after.base).all()
    for site in reading.sites:
        assert reading.updates_of(site).shape == reading.bases_of(site).shape == (3, 7)


def test_measures_when_a_line_names_no_round_are_refused(finished: Path, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path / "run")
    with (folder / "rounds.jsonl").open("a") as file:
        file.write(json.dumps({"round": "three"}) + "\n")
    with pytest.raises(Malformed, match="names no round"):
        read(folder, "coordinator")
    assert len(read(folder, "reader").rounds) == 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"round": 4, "measures": {"site-1": {"counts": [1]}}}', "two_classes is missing"),
        ('{"round": 4, "measures": {"site-1": [1]}}', "'site-1' are no JSON object"),
        ('{"round": 4, "measures": [1]}', "not by site"),
        ('{"round": true}', "names no round"),
        ("[4]", "no JSON object"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_measures_when_they_are_no_counts_are_refused_by_file_and_line(
    tmp_path: Path, line: str, reason: str
) -> None:
    (tmp_path / "rounds.jsonl").write_text(f'{{"round": 3}}\n{line}\n')
    with pytest.raises(Malformed, match="rounds.jsonl:2 is malformed: .*" + reason):
        read_measures(Folders(tmp_path))


_GOOD = {"counts": [1] * 40, "two_classes": True, "noise": 0.0}
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.just(10**400) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@settings(deadline=None)
@given(
    round=st.just(1) | _values,
    measures=_values | st.dictionaries(st.text(), st.just(_GOOD) | _values, max_size=3),
    fields=st.fixed_dictionaries({}, optional=dict.fromkeys(_GOOD, _values)),
)
def test_measures_when_a_line_is_hostile_are_counts_or_malformed(
    tmp_path_factory: pytest.TempPathFactory, round: object, measures: object, fields: object
) -> None:
    folder = tmp_path_factory.getbasetemp()
    lines = [
        {"round": round, "measures": measures},
        {"round": 2, "measures": {"site-1": {**_GOOD, **fields}}},
    ]
    for line in lines:
        (folder / "rounds.jsonl").write_text(json.dumps(line))
        try:
            found = read_measures(Folders(folder))
        except Malformed:
            continue
        assert all(isinstance(one.examples, int) for one in found)


def test_measures_when_a_line_is_half_written_are_those_of_the_others(
    finished: Path, tmp_path: Path
) -> None:
    folder = copied(finished, tmp_path / "run")
    with (folder / "rounds.jsonl").open("a") as file:
        file.write('{"round": 4, "accu')
    assert len(read(folder, "coordinator").measures) == len(read(finished, "coordinator").measures)


def test_store_when_it_is_encrypted_names_what_is_sealed(tmp_path: Path) -> None:
    run(small_scenario(study={"rounds": 1}), tmp_path / "run", confidential=True)
    reading = read(tmp_path / "run", "reader")
    assert list(reading.rounds) == []
    assert "encrypted" in reading.sealed
    key = tmp_path / "run" / "auditor" / "reading.key"
    with open_run(tmp_path / "run", reading=key) as opened:
        assert len(read_run(opened, "reader").rounds) == 1
