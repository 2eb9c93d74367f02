"""An auditor whose store does not answer: it waits, and goes on without what it cannot read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.audit.test_auditor import challenger, kinds
from tests.chain.staged import Theatre, theatre
from wardround.audit.auditor import Auditor, start_watching
from wardround.audit.notices import Notice, Powers
from wardround.protocol.cid import Cid
from wardround.store import FolderStore
from wardround.store.errors import StoreUnreachable
from wardround_simulations.cheats import SHIFTED, Cheater
from wardround_simulations.stage import DEMAND_SECONDS, Stage


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("away"), studies=4) as opened:
        yield opened


class AwayStore(FolderStore):
    """Answers nothing while it is away."""

    is_away = False

    def _look(self) -> None:
        if self.is_away:
            raise StoreUnreachable("https://coordinator", "it does not answer")

    def map(self, cid: str, max_bytes: int = 1 << 32) -> memoryview:
        self._look()
        return super().map(cid, max_bytes)

    def get(self, cid: str, max_bytes: int = 1 << 32) -> bytes:
        self._look()
        return super().get(cid, max_bytes)

    def size(self, cid: str) -> int | None:
        self._look()
        return super().size(cid)

    def cids(self) -> Iterator[Cid]:
        self._look()
        return super().cids()


class Stopped(Exception):
    pass


def auditor_with(scene: Theatre, stage: Stage, store: AwayStore, powers: Powers) -> Auditor:
    return Auditor(scene.ward, stage.study, store, powers, now=lambda: 0.0)


def test_what_an_away_store_hides_is_demanded_and_its_round_overturned(scene: Theatre) -> None:
    stage = scene.stage()
    stage.close(scene.parties.first)
    store = AwayStore(stage.store.folder)
    auditor = auditor_with(scene, stage, store, challenger(scene))
    assert kinds(auditor.step()) == [("holds", 1)]
    cheater = Cheater(stage, scene.parties.first)
    values = cheater.draft().model.values.copy()
    values[SHIFTED] += 1
    cheater.close(cheater.draft().with_model(values))
    store.is_away = True
    heard: list[Notice] = []

    def sleep(seconds: float) -> None:
        if any(notice.kind == "challenged" for notice in heard):
            raise Stopped
        scene.chain.advance(DEMAND_SECONDS + 1)

    with pytest.raises(Stopped):
        auditor.watch(heard.append, sleep)
    assert ("demanded", 2) in kinds(heard)
    assert scene.ward.study(stage.study).head == 2


def test_auditor_that_starts_while_its_store_is_away_waits_with_one_notice(scene: Theatre) -> None:
    stage = scene.stage()
    stage.close(scene.parties.first)
    store = AwayStore(stage.store.folder)
    store.is_away = True
    heard: list[Notice] = []
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        store.is_away = len(slept) < 3

    def make() -> Auditor:
        return auditor_with(scene, stage, store, Powers())

    auditor = start_watching(make, heard.append, sleep)
    assert (kinds(heard), len(slept)) == ([("waiting", 0)], 3)
    # Its first model is not read yet.
    store.is_away = True
    slept.clear()

    def wait(seconds: float) -> None:
        if len(heard) > 2:
            raise Stopped
        sleep(seconds)

    with pytest.raises(Stopped):
        auditor.watch(heard.append, wait)
    assert kinds(heard) == [("waiting", 0), ("waiting", 0), ("holds", 1)]
