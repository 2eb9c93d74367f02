"""A coordinator that hides what it closed, and shows each part in the last minute for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from eth_account import Account

from tests.audit.test_auditor import auditor_of, challenger, kinds
from tests.audit.test_examination import Scene
from tests.chain.staged import Theatre, theatre
from wardround.audit import demanding
from wardround.audit.auditor import Auditor
from wardround.audit.demanding import next_demands
from wardround.audit.notices import Powers
from wardround.chain.court_events import Demanded
from wardround.chain.court_reader import DemandStatus
from wardround.protocol.cid import cid_from_sha256, cid_of
from wardround.protocol.evidence import Demand, Hidden, Leaf, What
from wardround.protocol.fixed_point import vector_bytes
from wardround.protocol.record import Recording, RuleId
from wardround.protocol.whole_inspection import answer_of
from wardround.store import FolderStore
from wardround_simulations import cheats
from wardround_simulations.cheats import Cheater, Draft
from wardround_simulations.stage import CHALLENGE_SECONDS, DEPOSIT, Stage, specification

CHUNKS = 3


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(tmp_path_factory.mktemp("hiders"), studies=12) as opened:
        yield opened


def stage_of(
    scene: Theatre,
    rule: RuleId = RuleId.MEAN,
    recording: Recording = Recording.ROOT,
    windows: int = 3,
) -> Stage:
    """A study in whose time for challenges there are so many demand windows."""
    name = f"hiders-{len(scene.stages)}"
    scene.stages.append(name)
    spec = specification(name, recording, rule, rounds=3, quorum=0)
    seconds = CHALLENGE_SECONDS // windows
    chain = spec.chain.model_copy(update={"demand_seconds": seconds})
    spec = spec.model_copy(update={"chain": chain})
    return Stage(scene.ward, scene.token, scene.parties, spec, scene.folder / name)


class Hider:
    """Has all that was stored, and shows it on chain in the last minute."""

    def __init__(
        self, scene: Theatre, cheater: Cheater, draft: Draft, folder: Path, *hidden: str
    ) -> None:
        self.scene, self.stage, self.draft = scene, cheater.stage, draft
        self.base = cheater.position.base
        stage = cheater.stage
        whole = FolderStore(folder)
        for cid in stage.store.cids():
            whole.put(stage.store.get(cid))
        for cid in hidden:
            (stage.store.folder / cid).unlink()
        powers = Powers(scene.parties.first, answer=True)
        self.answering = Auditor(scene.ward, stage.study, whole, powers, now=lambda: 0.0)

    def demanded(self) -> list[Demanded]:
        events = self.scene.court.events(self.stage.study)
        return [event for event in events if isinstance(event, Demanded)]

    def show(self) -> None:
        deadline = self.demanded()[-1].deadline
        self.scene.chain.advance(deadline - self.scene.chain.timestamp() - 60)
        before = len(self.scene.court.answers(0, self.scene.chain.block().number))
        self.show_rows()
        self.answering.step()
        assert len(self.scene.court.answers(0, self.scene.chain.block().number)) > before

    def show_rows(self) -> None:
        """Of what it has made up: it does not follow from the updates."""
        court, draft = self.scene.court, self.draft
        for event in self.demanded():
            state = court.demand_of(event.demand)
            if event.what.is_named and state.status is DemandStatus.OPEN:
                demand = Demand(event.what, event.index, row=event.entry_index)
                updates = [row.update for row in draft.rows]
                change = draft.model.values.astype(np.int64) - self.base.values
                leaf = Leaf(event.index, answer_of(draft.commitments, demand, updates, change), ())
                closing = self.scene.contested(self.stage, event.round).closing
                court.answer_demand(self.scene.parties.first, event.demand, closing, leaf)


def last_manifest(stage: Stage) -> str:
    closing = stage.contract.last_closing(stage.study)
    return cid_from_sha256(closing.record.manifest)


@pytest.mark.parametrize("recording", list(Recording))
def test_hidden_model_is_overturned_though_each_chunk_is_shown_in_the_last_minute(
    scene: Theatre, recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demanding, "CHUNKS_AT_ONCE", 1)
    stage = stage_of(scene, recording=recording, windows=2)
    stage.close(scene.parties.first)
    cheater = Cheater(stage, scene.parties.first)
    draft = cheater.draft()
    values = draft.model.values.copy()
    values[-1] += 1
    draft = draft.with_model(values)
    cheater.close(draft)
    hider = Hider(scene, cheater, draft, tmp_path, draft.model.cid)
    auditor = auditor_of(scene, stage, challenger(scene))
    assert kinds(auditor.step()) == [("holds", 1), ("breach", 2), ("demanded", 2)]
    # Two whole windows are left for three chunks.
    assert [(one.what, one.index) for one in hider.demanded()] == [
        (What.MODEL, index) for index in range(2)
    ]
    hider.show()
    assert kinds(auditor.step()) == [("demanded", 2)]
    assert hider.demanded()[-1].index == 2
    hider.show()
    (_, proven) = auditor.step()
    assert (proven.kind, proven.challenge) == ("challenged", "challengeCoordinate")
    assert scene.ward.study(stage.study).head == 2


def test_wrong_chunk_is_proven_before_more_is_demanded(
    scene: Theatre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demanding, "CHUNKS_AT_ONCE", 1)
    stage = stage_of(scene, windows=12)
    stage.close(scene.parties.first)
    cheater = Cheater(stage, scene.parties.first)
    draft = cheater.draft()
    values = draft.model.values.copy()
    values[0] += 1
    draft = draft.with_model(values)
    cheater.close(draft)
    updates = [cid_of(vector_bytes(row.update)) for row in draft.rows[:1]]
    hider = Hider(scene, cheater, draft, tmp_path, draft.model.cid, *updates)
    auditor = auditor_of(scene, stage, challenger(scene))
    auditor.step()
    assert [one.what for one in hider.demanded()] == [What.MODEL, What.UPDATE]
    hider.show()
    assert ("challenged", 2) in kinds(auditor.step())
    assert len(hider.demanded()) == 2


@pytest.mark.parametrize("hidden", ["rows", "rows and manifest", "rows, manifest and update"])
def test_hidden_rows_are_overturned_within_three_windows(
    scene: Theatre, hidden: str, tmp_path: Path
) -> None:
    stage = stage_of(scene, RuleId.CLIPPED_MEAN, windows=1)
    stage.close(scene.parties.first)
    cheater = Cheater(stage, scene.parties.first)
    draft = cheater.draft()
    row = draft.commitments.rows["scores"][0]
    draft = draft.with_row("scores", 0, row[:64] + bytes(31) + b"\x01" + row[96:])
    cheater.close(draft)
    objects = {
        "rows": cid_of(draft.commitments.data("scores")),
        "manifest": last_manifest(stage),
        "update": cid_of(vector_bytes(draft.rows[1].update)),
    }
    gone = [cid for name, cid in objects.items() if name in hidden]
    hider = Hider(scene, cheater, draft, tmp_path, *gone)
    auditor = auditor_of(scene, stage, challenger(scene))
    auditor.step()
    for _ in range(3):
        hider.show()
        if ("challenged", 2) in kinds(auditor.step()):
            break
    assert scene.ward.study(stage.study).head == 2


def test_entries_are_demanded_together_and_judged_one_by_one(
    scene: Theatre, tmp_path: Path
) -> None:
    stage = stage_of(scene, windows=1)
    stage.close(scene.parties.first)
    cheater = Cheater(stage, scene.parties.first)
    draft = cheater.draft()
    cheats.sign_nothing(cheater)
    hider = Hider(scene, cheater, draft, tmp_path, last_manifest(stage))
    auditor = auditor_of(scene, stage, challenger(scene))
    auditor.step()
    assert [(one.what, one.index) for one in hider.demanded()] == [
        (What.ENTRY, index) for index in range(4)
    ]
    hider.show()
    (_, proven) = auditor.step()
    assert (proven.kind, proven.challenge) == ("challenged", "challengeEntry")


def test_round_upon_a_hidden_model_is_demanded_too(scene: Theatre, tmp_path: Path) -> None:
    """Its own time for demands would be over once the model before it was shown."""
    stage = stage_of(scene)
    stage.close(scene.parties.first)
    cheater = Cheater(stage, scene.parties.first)
    draft = cheater.draft()
    values = draft.model.values.copy()
    values[-1] += 1
    draft = draft.with_model(values)
    cheater.close(draft)
    following = stage.close(scene.parties.first).settlement
    hider = Hider(scene, cheater, draft, tmp_path, draft.model.cid, following.model.cid)
    auditor = auditor_of(scene, stage, challenger(scene))
    assert kinds(auditor.step()) == [
        ("holds", 1),
        ("breach", 2),
        ("demanded", 2),
        ("breach", 3),
        ("demanded", 3),
    ]
    assert [(one.round, one.index) for one in hider.demanded()] == [
        (number, index) for number in (2, 3) for index in range(CHUNKS)
    ]


def test_auditor_that_can_pay_for_no_more_says_so_once(scene: Theatre, tmp_path: Path) -> None:
    stage, poor = stage_of(scene), Account.create()
    scene.chain.transfer(scene.parties.sponsor, poor.address, 10**18)
    scene.token.transfer(scene.parties.sponsor, poor.address, 2 * DEPOSIT + 1)
    stage.close(scene.parties.first)
    cheats.withhold_an_update(Cheater(stage, scene.parties.first))
    auditor = auditor_of(scene, stage, Powers(poor, challenge=True))
    notices = auditor.step()
    assert kinds(notices) == [("holds", 1), ("breach", 2), ("demanded", 2), ("refused", 2)]
    assert "2 of it" in notices[2].words
    assert "holds 0" in notices[3].words
    assert auditor.step() == []


@pytest.mark.parametrize(
    ("what", "windows", "count"),
    [
        (What.MODEL, 10, 100),
        (What.MODEL, 4.5, 250),
        # All of them while one window is left; after the last moment, the chain refuses them.
        (What.MODEL, 1.5, 998),
        (What.MODEL, -1, 998),
        (What.UPDATE, 10, 48),
        (What.UPDATE, -9.5, 998),
        (What.ENTRY, 10, 998),
        (What.SCORES, 10, 998),
    ],
)
def test_chunks_are_spread_over_the_windows_that_are_left(
    what: What, windows: float, count: int
) -> None:
    params = Scene.of().memory.facts.params
    params = replace(params, challenge_seconds=10_000, demand_seconds=1_000)
    withheld = [Hidden(Demand(what, 0), range(1000), {0, 5})]
    chosen = next_demands(params, 0, withheld, [], 10_000 - 1_000 * windows)
    assert len(chosen) == count
    assert [one.index for one in chosen[:5]] == [1, 2, 3, 4, 6]


def test_more_entries_than_members_are_not_all_demanded(scene: Theatre) -> None:
    stage = stage_of(scene)
    stage.close(scene.parties.first)
    cheater = Cheater(stage, scene.parties.first)
    draft = cheater.draft()
    record = replace(draft.record, count=10**6, total_weight=10**6)
    cheater.close(replace(draft, record=record))
    (stage.store.folder / last_manifest(stage)).unlink()
    auditor = auditor_of(scene, stage)
    auditor.step()
    (breach,) = auditor.breaches
    (withheld,) = breach.withheld
    assert withheld.left() == len(stage.sites) + 1
