"""Shares of a study that pays by scores: read from rows in the store, or not known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.explorer.worlds import World, world
from wardround.explorer.reader import Reader
from wardround.explorer.rounds import read_round
from wardround.explorer.sites import read_site
from wardround.explorer.studies import read_study, series
from wardround.protocol.identifiers import hex_of
from wardround.protocol.record import Recording, RuleId
from wardround_simulations.stage import REWARD


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.mark.parametrize("recording", list(Recording))
def test_share_by_score_is_shown_or_unknown(
    around: World, tmp_path: Path, recording: Recording
) -> None:
    stage = around.stage(rounds=1, recording=recording, rule=RuleId.CLIPPED_MEAN)
    settled = stage.close(stage.parties.first).settlement
    study = hex_of(stage.study)
    expected = {site.lower(): str(share) for site, share in settled.shares.items()}
    assert len(set(expected.values())) == len(expected)
    assert REWARD - len(expected) < sum(map(int, expected.values())) <= REWARD

    def shown(name: str) -> tuple[dict[str, str | None], ...]:
        reader = Reader(around.fresh(tmp_path / name))
        found = read_round(reader, study, 1)
        assert found.manifest.status == "verified"
        entries = {entry.site: entry.reward for entry in found.entries}
        sites = {one: read_site(reader, one).contributions.rows[0].reward for one in expected}
        earned = {one.site: one.earned for one in read_study(reader, study).members}
        (chart,) = series(reader, study)
        reader.close()
        return entries, sites, earned, {one: chart.rewards.get(one) for one in expected}

    assert shown("whole.sqlite") == (expected,) * 4
    (around.folder / "store" / settled.manifest.commitments["scores"].cid).unlink()
    assert shown("without.sqlite") == (dict.fromkeys(expected),) * 4
