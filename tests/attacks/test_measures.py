"""Coordinator and one site together choose the models that another hospital measures.

Every round keeps the rules, so an audit finds nothing. The third hospital runs the real guard,
which lets counts of its test rows out for each model; the attackers take the figures that these
tell for exact ones, and solve them for its test patients.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.client.guard.conftest import Ward, approve, guarded, make
from tests.coordinator.conftest import Hospitals
from tests.integration.networks import prepared, small_scenario
from wardround.learning.errors import LearningError
from wardround.learning.privacy.counts import CountedMetrics, Histogram, metrics_of
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.errors import RoundFailed
from wardround.protocol.fixed_point import Int32Vector, vector_bytes
from wardround.protocol.messages import VECTOR_DTYPE, VECTOR_FORMAT, TrainReply, TrainTask
from wardround_client.errors import Refusal
from wardround_client.settings import PolicyTable
from wardround_coordinator.session import Session, StudyPosition
from wardround_coordinator.verification import RawVector, Reply
from wardround_simulations.network import Network

Floats = npt.NDArray[np.float64]

FEATURES, TEST_ROWS = 3, 200
VICTIM, BYSTANDER, PUPPET = 0, 1, 2
#: Length of a chosen model's slope: with it, rows are far above its threshold or far below.
STEEP = 60.0
#: Scaled rows are nearer than this. Each direction is searched in so many steps.
REACH, HALVINGS = 8.0, 13
#: A feature by which one patient stands out, and how much another counts beside it.
OUTSTANDING, TILT = 1, 0.1


class Withheld(Exception):
    """The attack met a refusal."""


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """Three hospitals; the specification lets a model move far in one round."""
    data = {"sites": 3, "rows": 40, "test_rows": TEST_ROWS, "features": FEATURES}
    scenario = small_scenario(
        study={"rounds": 100},
        model={"name": "logistic", "arguments": {"features": FEATURES}},
        aggregation={"min_sites": 2, "update_bound": 1024.0},
        data={"name": "generated", "arguments": data},
    )
    with prepared(scenario, tmp_path / "network") as made:
        yield made


@dataclass
class Conspiracy:
    """A coordinator and a puppet, and a hospital that takes part honestly.

    Attributes:
        victim: the hospital that measures, with the real guard.
        rounds: how many rounds were closed.
        honest: updates of the victim so far.
    """

    hospitals: Hospitals
    victim: Ward
    rounds: int = 0
    honest: set[bytes] = field(default_factory=set)
    session: Session = field(init=False)
    position: StudyPosition = field(init=False)

    def __post_init__(self) -> None:
        self.session = self.hospitals.session()
        self.position = self.session.position()

    def measured(self, wanted: Floats) -> tuple[CountedMetrics, Floats]:
        """Close a round with the wanted model; give what counts tell, and the exact model."""
        found, model = self.histogram(wanted)
        try:
            return metrics_of(found), model
        except LearningError:
            raise Withheld from None

    def histogram(self, wanted: Floats) -> tuple[Histogram, Floats]:
        """Close a round with the wanted model; give what is measured, and the exact model."""
        unit = 2.0**-self.session.spec.aggregation.scale_bits
        position = self.position
        change = np.rint(wanted / unit).astype(np.int64) - position.base.values
        change += np.random.default_rng(position.round).integers(-99, 100, change.size)
        # The coordinator has the victim's update before the puppet answers, so that the puppet
        # alone decides what the mean is; all weigh the same.
        answer, honest = self._trained()
        # An update as in a round before, as models far from all rows give, is left out as a copy.
        known = vector_bytes(honest) in self.honest
        self.honest.add(vector_bytes(honest))
        updates = dict.fromkeys(self.hospitals.asked, np.zeros(change.size, np.int32))
        # Another one each round, or the second would pass for a copy of the first.
        updates[BYSTANDER] = updates[BYSTANDER] + np.int32(position.round)
        wanted_sum = change * 2 if known else change * 3 - honest
        updates[PUPPET] = (wanted_sum - position.round).astype(np.int32)
        answers = [(node, self.hospitals.reply(node, position, updates[node])) for node in updates]
        sent = RawVector(VECTOR_DTYPE, VECTOR_FORMAT, vector_bytes(honest))
        answers[VICTIM] = (VICTIM, Reply(answer.fields(), sent))
        try:
            closed = self.session.run_round(position, self.hospitals.asked, answers)
        except RoundFailed as refusal:
            raise Withheld from refusal
        self.rounds += 1
        self.position = following = closed.position
        if len(closed.state.dropped) > known:
            raise Withheld
        try:
            told = self.victim.client.measure(self._task(), following.base.values)
        except Refusal as refusal:
            raise Withheld from refusal
        return Histogram.of(told), following.base.values * unit

    def _task(self) -> TrainTask:
        network, position = self.hospitals.network, self.position
        spec = canonical_bytes(network.scenario.specification.document())
        return TrainTask(network.params, position.previous, position.round, spec)

    def _trained(self) -> tuple[TrainReply, Int32Vector]:
        try:
            return self.victim.client.train(self._task(), self.position.base.values)
        except Refusal as refusal:
            raise Withheld from refusal

    def positives(self) -> int:
        """How many test patients are ill: predicting 0 for all is wrong about them alone."""
        told, _ = self.measured(np.array([0.0] * FEATURES + [-15.0]))
        return round(told.examples * (1 - told.accuracy))


@dataclass
class Oracle:
    """What one model's loss reveals about the rows that it predicts to be ill.

    The loss of all rows is the sum of softplus over their logits less the logits of the ill ones,
    which is known once their number and the sum of their features are.
    """

    conspiracy: Conspiracy
    ill: int
    sums: Floats

    def excess(self, slope: Floats, bias: float) -> float:
        """Sum of softplus over all rows' logits: nearly the logits of those above the threshold."""
        told, model = self.conspiracy.measured(np.append(slope, bias))
        loss = told.log_loss[1] * told.examples
        return loss + model[-1] * self.ill + float(model[:-1] @ self.sums)


def sums_of_the_ill(conspiracy: Conspiracy, ill: int) -> Floats:
    sums = np.zeros(FEATURES)
    for place in range(FEATURES):
        slope = np.zeros(FEATURES)
        slope[place] = 1.0
        told, model = conspiracy.measured(np.append(slope, -30.0))
        sums[place] = -told.log_loss[1] * told.examples - model[-1] * ill
    return sums


def row_above(oracle: Oracle, slope: Floats) -> float | None:
    """A bias with which exactly one row is above the threshold, and all others far below."""
    low, high = -STEEP * 4, 0.0
    for _ in range(8):
        bias = (low + high) / 2
        here = oracle.excess(slope, bias)
        above = oracle.excess(slope, bias + 1) - here
        if abs(above - 1) < 1e-3 and here > 5:
            return bias
        if above < 1:
            low = bias
        else:
            high = bias
    return None


def rebuilt_row(conspiracy: Conspiracy) -> Floats | None:
    """One test patient of the victim, from the numbers that its guard lets out."""
    try:
        ill = conspiracy.positives()
        oracle = Oracle(conspiracy, ill, sums_of_the_ill(conspiracy, ill))
        random = np.random.default_rng(1)
        for _ in range(3):
            direction = random.standard_normal(FEATURES)
            slope = STEEP * direction / np.linalg.norm(direction)
            if (bias := row_above(oracle, slope)) is None:
                continue
            logit = math.log(math.expm1(oracle.excess(slope, bias)))
            row = np.zeros(FEATURES)
            for place in range(FEATURES):
                other = slope.copy()
                other[place] += 1.0
                row[place] = math.log(math.expm1(oracle.excess(other, bias))) - logit
            return row
    except Withheld:
        return None
    return None


def count_above(conspiracy: Conspiracy, slope: Floats, threshold: float) -> int:
    """How many test patients' scores exceed a threshold, as far as the counts tell."""
    steep = STEEP * slope
    told, _ = conspiracy.histogram(np.append(steep, -STEEP * threshold))
    return int(told.counts[len(told.counts) // 2 :].sum())


def outermost(conspiracy: Conspiracy, slope: Floats) -> float:
    """The greatest score of any test patient, by halving."""
    low, high = 0.0, REACH
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if count_above(conspiracy, slope, middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def row_by_counts(conspiracy: Conspiracy) -> Floats:
    """The test patient who stands out most by one feature: tilting tells of the others."""
    straight = np.eye(FEATURES)[OUTSTANDING]
    row = straight * outermost(conspiracy, straight)
    for place in set(range(FEATURES)) - {OUTSTANDING}:
        tilted = straight + TILT * np.eye(FEATURES)[place]
        row[place] = (outermost(conspiracy, tilted) - row[OUTSTANDING]) / TILT
    return row


@contextmanager
def conspiring(network: Network, folder: Path, policy: str) -> Iterator[Conspiracy]:
    # What its updates tell is no matter here.
    home = make(network, folder, VICTIM, policy=f'{policy}\naccept_solvable = ["small"]')
    approve(network, home, VICTIM)
    with guarded(network, home, VICTIM) as guard:
        yield Conspiracy(Hospitals(network), Ward(network, home, guard))


@pytest.fixture
def conspiracy(network: Network, tmp_path: Path) -> Iterator[Conspiracy]:
    with conspiring(network, tmp_path / "home", "") as made:
        yield made


def test_number_of_the_ill_when_a_model_says_no_to_all_leaves_with_noise_that_is_booked(
    conspiracy: Conspiracy,
) -> None:
    """Noise may hit the truth by chance: what is known is how much there was."""
    with suppress(Withheld):
        conspiracy.positives()
    (released,) = (line for line in conspiracy.victim.log() if line["kind"] == "released")
    (spent,) = (line for line in conspiracy.victim.log() if line["kind"] == "spent")
    assert spent["base"] == released["model"]
    assert spent["mechanism"]["kind"] == "discrete"
    assert spent["mechanism"]["noise_multiplier"] == PolicyTable().measure_noise > 0


def test_test_patient_when_the_attackers_choose_the_models_stays_hidden(
    conspiracy: Conspiracy, network: Network
) -> None:
    row = rebuilt_row(conspiracy)
    while "measures-spent" not in conspiracy.victim.refusals() and conspiracy.rounds < 100:
        with suppress(Withheld):
            conspiracy.positives()
    assert "measures-spent" in conspiracy.victim.refusals()
    released = [line for line in conspiracy.victim.log() if line["kind"] == "released"]
    assert len(released) == PolicyTable().measured_models - 1, "one is kept for the last model"
    if row is not None:
        rows = network.parties[VICTIM].data.test.features.astype(np.float64)
        error = float(np.abs(rows - row).max(axis=1).min())
        assert error > 0.01, (
            f"after {conspiracy.rounds} rounds a test patient is known to within {error:.1e}"
        )


@pytest.mark.deep
@pytest.mark.parametrize("noise", [0.0, PolicyTable().measure_noise])
def test_test_patient_when_a_hundred_models_are_measured_is_hidden_by_noise_alone(
    noise: float, network: Network, tmp_path: Path
) -> None:
    """A policy may let all be measured; without noise that gives a patient away."""
    policy = f"measured_models = 100\nmeasure_noise = {noise}"
    with conspiring(network, tmp_path / "home", policy) as conspiracy:
        row: Floats | None = None
        # Noise may lead to a model that no later round can bring back within the study's bound.
        with suppress(Withheld):
            row = row_by_counts(conspiracy)
        random = np.random.default_rng(3)
        for _ in range(99 - conspiracy.rounds):
            with suppress(Withheld):
                count_above(conspiracy, random.standard_normal(FEATURES), random.uniform(-1, 1))
        log = conspiracy.victim.log()
    spent = [line for line in log if line["kind"] == "spent"]
    released = sum(line["kind"] == "released" for line in log)
    assert len(spent) == (released if noise else 0)
    rows = network.parties[VICTIM].data.test.features.astype(np.float64)
    if noise:
        assert row is None or distance(row, rows) >= min(guesses(rows))
    else:
        assert row is not None
        assert released == 99
        assert distance(row, rows) < 0.05


def distance(row: Floats, rows: Floats) -> float:
    """To the nearest row, by the feature that is furthest."""
    return float(np.abs(rows - row).max(axis=1).min())


def guesses(rows: Floats) -> list[float]:
    """How near rows come that are put together from the features' distributions alone."""
    random = np.random.default_rng(2)
    drawn = [random.choice(rows[:, place], 100) for place in range(FEATURES)]
    return [distance(row, rows) for row in np.stack(drawn, axis=1)]
