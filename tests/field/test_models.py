"""A study's own network: what it is named after, what it keeps, and one dry step before a study.

A sponsor learns of a network that cannot be federated before anything is created. So each study
here is set up by an account without money: the first transaction raises `TransactionRefused`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from eth_account import Account
from torch import nn

from tests.integration.networks import CHAIN_ID, FEATURES, prepared, small_scenario
from wardround.chain.errors import TransactionRefused
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.evm import Genesis
from wardround.learning.datasets.table import Table
from wardround.learning.errors import LearningError
from wardround.learning.metrics import evaluate
from wardround.learning.models import build_model, flatten
from wardround.learning.models.factory import find_factory
from wardround.learning.privacy.noise import NoiseSecret
from wardround.learning.privacy.terms import PrivateTerms
from wardround.learning.training import train_locally
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.errors import WardroundError
from wardround.protocol.messages import TrainTask
from wardround.protocol.record import genesis_closing
from wardround.protocol.study import PrivacySpec, TrainingSpec, load_study
from wardround.store import FolderStore
from wardround_client.app.client_app import open_home
from wardround_coordinator.sponsoring import create_study
from wardround_simulations.network import new_folder, new_keys, prepare
from wardround_simulations.scenario import Scenario

Factory = Callable[..., nn.Module]

PRIVACY = PrivacySpec(noise_multiplier=1.0, max_grad_norm=1.0, delta=1e-5)


def too_late(reason: str) -> pytest.MarkDecorator:
    """The chain is touched before the network is tried."""
    return pytest.mark.xfail(strict=True, raises=TransactionRefused, reason=reason)


def named(factory: Factory) -> str:
    """How a study names a network of this file."""
    return f"{factory.__module__}:{factory.__qualname__}"


def study_of(factory: Factory, **tables: Any) -> Scenario:
    return small_scenario(model={"name": named(factory), "arguments": {}}, **tables)


def set_up(scenario: Scenario, folder: Path) -> None:
    """Prepare a network on a chain where no account has money."""
    folders = new_folder(folder / "network")
    chain = EmbeddedChain(f"penniless-{folder.name}", Genesis(CHAIN_ID, 1_760_000_000, {}))
    try:
        prepare(scenario, folders, new_keys(folders), chain, data_dir=None)
    finally:
        chain.close()


def sponsor(scenario: Scenario, folder: Path) -> None:
    """Create a study, as its sponsor does, on a chain where no account has money."""
    chain = EmbeddedChain(f"penniless-{folder.name}", Genesis(CHAIN_ID, 1_760_000_000, {}))
    payer, coordinator = Account.create(), Account.create()
    store = FolderStore(folder / "store")
    try:
        create_study(
            chain,
            payer,
            scenario.specification,
            [coordinator.address],
            store,
            contract=None,
            token=None,
        )
    finally:
        chain.close()


def rows(count: int = 24, seed: int = 0) -> Table:
    random = np.random.default_rng(seed)
    features = random.standard_normal((count, FEATURES)).astype(np.float32)
    return Table(features, random.integers(0, 2, count))


# ---------------------------------------------------------------- what a study may name

NAMES = ["alpha", "beta", "gamma"]


class Assembled(nn.Module):
    """Its parts are registered in whatever order `NAMES` has in this process."""

    def __init__(self) -> None:
        super().__init__()
        for name in NAMES:
            self.register_module(name, nn.Linear(FEATURES, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        parts = [self.get_submodule(name)(features) for name in sorted(NAMES)]
        return sum(weight * part for weight, part in enumerate(parts, 1))


def assembled() -> nn.Module:
    return Assembled()


@pytest.mark.parametrize("ask", ["contribute", "evaluate"])
@pytest.mark.parametrize(
    "order", [["gamma", "alpha", "beta"], ["delta", "beta", "gamma"]], ids=["other", "renamed"]
)
@pytest.mark.xfail(
    strict=True,
    raises=pytest.fail.Exception,
    reason="a study pins how many parameters there are, and neither their names nor their order",
)
def test_site_whose_parameters_stand_in_another_order_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: str, order: list[str]
) -> None:
    """Every weight has the same value, and means another thing: a set has no order to keep."""
    with prepared(study_of(assembled), tmp_path / "network") as network:
        spec = canonical_bytes(network.scenario.specification.document())
        task = TrainTask(network.params, genesis_closing(network.params.initial_model), 1, spec)
        monkeypatch.setitem(globals(), "NAMES", order)
        site = open_home(str(network.home(network.parties[0]).folder))
        with pytest.raises(WardroundError, match=r"layout|order"):
            getattr(site, ask)(task, network.initial.values)


def test_site_whose_parameters_stand_as_pinned_trains(tmp_path: Path) -> None:
    """The same study, unchanged: no refusal."""
    with prepared(study_of(assembled), tmp_path / "network") as network:
        spec = canonical_bytes(network.scenario.specification.document())
        task = TrainTask(network.params, genesis_closing(network.params.initial_model), 1, spec)
        site = open_home(str(network.home(network.parties[0]).folder))
        _, update = site.contribute(task, network.initial.values)
    assert update.any()


STUDY = """
[study]
name = "mercy"
rounds = 1
[model]
name = "{}"
arguments = {{ {} }}
[training]
learning_rate = 0.1
local_epochs = 1
"""
WRITES = """
from pathlib import Path
from torch import nn
Path(__file__).with_name("proof").mkdir()
def factory():
    return nn.Linear(6, 1)
"""

FOREIGN = {
    "a command": ("os:system", "command = 'mkdir {0}/proof'"),
    "a new folder": ("os:mkdir", "path = '{0}/proof'"),
    "an open call": ("shutil:copytree", "src = '{0}/kept', dst = '{0}/proof'"),
    "a module by way of ours": (
        f"{find_factory.__module__}:importlib.import_module",
        "name = 'field_proof'",
    ),
    "a module beside ours": ("field_proof:factory", ""),
}


def called(raises: type[BaseException]) -> pytest.MarkDecorator:
    """The code runs where the model is built."""
    reason = "any callable that can be imported is called with the arguments that a study gives"
    return pytest.mark.xfail(strict=True, raises=raises, reason=reason)


@pytest.mark.parametrize(
    "what",
    [
        *(pytest.param(what, marks=called(AssertionError)) for what in list(FOREIGN)[:-1]),
        pytest.param("a module beside ours", marks=called(pytest.fail.Exception)),
    ],
)
def test_study_that_names_code_outside_the_pinned_digest_is_refused_before_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A specification is data: it names no code but what each site approved by its digest."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "field_proof.py").write_text(WRITES, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    name, arguments = FOREIGN[what]
    text = STUDY.format(name, arguments.format(tmp_path))
    try:
        with pytest.raises(WardroundError):
            spec = load_study(text, "study.toml")
            build_model(spec.model.name, spec.model.arguments, spec.study.seed)
    finally:
        sys.modules.pop("field_proof", None)
    assert not (tmp_path / "proof").exists()


# ---------------------------------------------------------------- state beside the parameters


class Normalised(nn.Module):
    """Running statistics in buffers that are not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, 1)
        self.register_buffer("mean", torch.zeros(FEATURES), persistent=False)
        self.register_buffer("variance", torch.ones(FEATURES), persistent=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        normal = nn.functional.batch_norm(
            features, self.mean, self.variance, training=self.training, momentum=0.1
        )
        return self.layer(normal)


class Remembering(nn.Module):
    """A running mean in a plain attribute; `keep` selects its kind."""

    def __init__(self, keep: Callable[[torch.Tensor], Any], read: Callable[[Any], Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, 1)
        self.keep, self.read = keep, read
        self.mean = keep(torch.zeros(FEATURES))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if self.training:
            new = features.detach().mean(dim=0)
            self.mean = self.keep(0.9 * torch.as_tensor(self.read(self.mean)) + 0.1 * new)
        return self.layer(features - torch.as_tensor(self.read(self.mean)))


def normalised() -> nn.Module:
    return Normalised()


def remembering_tensor() -> nn.Module:
    return Remembering(lambda mean: mean, lambda kept: kept)


def remembering_list() -> nn.Module:
    return Remembering(lambda mean: [mean], lambda kept: kept[0])


def remembering_number() -> nn.Module:
    return Remembering(lambda mean: float(mean.mean()), lambda kept: kept)


@pytest.mark.parametrize(
    "factory", [normalised, remembering_tensor, remembering_list, remembering_number]
)
@too_late("only saved buffers are looked for, whatever else a network keeps from step to step")
def test_network_that_keeps_state_beside_its_parameters_is_refused(
    tmp_path: Path, factory: Factory
) -> None:
    """No update carries that state, so the published model is another than the measured one."""
    with pytest.raises(LearningError):
        set_up(study_of(factory), tmp_path)


class Masked(nn.Module):
    """A constant beside the parameters, in a buffer and in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, 1)
        self.register_buffer("mask", torch.ones(FEATURES), persistent=False)
        self.shift = torch.zeros(FEATURES)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layer(features * self.mask + self.shift)


def masked() -> nn.Module:
    return Masked()


def partly_frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(FEATURES, 4), nn.ReLU(), nn.Linear(4, 1))
    model[0].requires_grad_(requires_grad=False)
    return model


@pytest.mark.parametrize("factory", [masked, partly_frozen, assembled])
def test_network_that_can_be_federated_gets_as_far_as_the_chain(
    tmp_path: Path, factory: Factory
) -> None:
    """A constant is no state, and a frozen layer is no hindrance."""
    with pytest.raises(TransactionRefused):
        set_up(study_of(factory), tmp_path)


# ---------------------------------------------------------------- one dry step


def frozen() -> nn.Module:
    return partly_frozen().requires_grad_(requires_grad=False)


def frozen_alone() -> nn.Module:
    return nn.Linear(FEATURES, 1).requires_grad_(requires_grad=False)


@pytest.mark.parametrize("start", [set_up, sponsor], ids=["simulation", "sponsor"])
@pytest.mark.parametrize("factory", [frozen, frozen_alone])
@too_late("a network is not asked whether it has anything to train")
def test_network_with_nothing_to_train_is_refused_before_a_study_is_created(
    tmp_path: Path, start: Callable[[Scenario, Path], None], factory: Factory
) -> None:
    """Every site would fail at its first step."""
    with pytest.raises(LearningError):
        start(study_of(factory), tmp_path)


class Answering(nn.Module):
    """Its output has another form, always or in training alone."""

    def __init__(self, form: Callable[[torch.Tensor], Any], *, always: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, 1)
        self.form, self.always = form, always

    def forward(self, features: torch.Tensor) -> Any:
        logits = self.layer(features)
        return self.form(logits) if self.training or self.always else logits


def with_auxiliary() -> nn.Module:
    return Answering(lambda logits: (logits, logits))


def in_a_table() -> nn.Module:
    return Answering(lambda logits: {"logits": logits}, always=True)


def in_a_table_in_training() -> nn.Module:
    return Answering(lambda logits: {"logits": logits})


def summed_in_training() -> nn.Module:
    return Answering(lambda logits: logits.sum())


@pytest.mark.parametrize(
    "factory", [with_auxiliary, in_a_table_in_training, in_a_table, summed_in_training]
)
@too_late("a network is not tried in training mode, and a study's own not at all")
def test_network_whose_output_has_another_form_is_refused_before_a_study_is_created(
    tmp_path: Path, factory: Factory
) -> None:
    """A second head that exists in training only, as many networks have, fails at every site."""
    with pytest.raises(LearningError):
        set_up(study_of(factory), tmp_path)


class Halved(nn.Module):
    """Parameters in float32, logits in a shorter type."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, 1)
        self.dtype = dtype

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=self.dtype):
            return self.layer(features)


def bfloat16() -> nn.Module:
    return Halved(torch.bfloat16)


def float16() -> nn.Module:
    return Halved(torch.float16)


@pytest.mark.parametrize(
    "factory",
    [
        pytest.param(
            bfloat16,
            marks=pytest.mark.xfail(
                strict=True,
                raises=TypeError,
                reason="bfloat16 logits are trained on, and then no site can measure them",
            ),
        ),
        float16,
    ],
)
def test_network_of_short_logits_is_refused_early_or_can_be_measured(
    tmp_path: Path, factory: Factory
) -> None:
    """No round closes whose model the sites cannot measure."""
    try:
        set_up(study_of(factory), tmp_path)
    except LearningError:
        return
    except TransactionRefused:
        model = build_model(named(factory), {}, seed=0)
    plan = TrainingSpec(learning_rate=0.1, batch_size=8, local_epochs=1)
    result = train_locally(model, flatten(model), rows(), plan, seed=1)
    assert evaluate(model, result.weights, rows(seed=1)).examples == 24


def batch_norm() -> nn.Module:
    return nn.Sequential(
        nn.Linear(FEATURES, 8),
        nn.BatchNorm1d(8, track_running_stats=False),
        nn.ReLU(),
        nn.Linear(8, 1),
    )


def batch_norm_of_pictures() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (FEATURES, 1, 1)),
        nn.BatchNorm2d(FEATURES, track_running_stats=False),
        nn.Flatten(),
        nn.Linear(FEATURES, 1),
    )


@pytest.mark.parametrize("factory", [batch_norm, batch_norm_of_pictures])
@too_late("a network is first tried at the sites, and the refusal there speaks of float32")
def test_batch_norm_without_statistics_is_refused_by_what_it_needs(
    tmp_path: Path, factory: Factory
) -> None:
    """It cannot answer for one row; group norm can."""
    with pytest.raises(LearningError, match=r"more than one row|group (or layer )?norm"):
        set_up(study_of(factory), tmp_path)


# ---------------------------------------------------------------- layers without row gradients


class Recurrent(nn.Module):
    """A row is a sequence of numbers."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cells = kind(1, 4, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.head(self.cells(features.unsqueeze(-1))[0][:, -1])


class Attentive(nn.Module):
    """Attention between the numbers of a row."""

    def __init__(self, *, whole: bool) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(1, 8), nn.Linear(8, 1)
        layer = nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, batch_first=True)
        self.attend = (
            nn.TransformerEncoder(layer, 1)
            if whole
            else nn.MultiheadAttention(8, 2, batch_first=True)
        )
        self.whole = whole

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        sequence = self.embed(features.unsqueeze(-1))
        found = self.attend(sequence) if self.whole else self.attend(*[sequence] * 3)[0]
        return self.head(found.mean(dim=1))


def lstm() -> nn.Module:
    return Recurrent(nn.LSTM)


def gru() -> nn.Module:
    return Recurrent(nn.GRU)


def transformer() -> nn.Module:
    return Attentive(whole=True)


def attention() -> nn.Module:
    return Attentive(whole=False)


raw = pytest.mark.xfail(
    strict=True, raises=TypeError, reason="Opacus' own error about such a layer comes through"
)
unnamed = pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="the refusal names no layer to use instead"
)
PER_RECORD = [
    (lstm, "DPLSTM"),
    (gru, "DPGRU"),
    (transformer, "DPMultiheadAttention"),
    (attention, "DPMultiheadAttention"),
]


@pytest.mark.parametrize(
    ("factory", "layer"),
    [pytest.param(*one, marks=unnamed if one[0] is gru else raw) for one in PER_RECORD],
)
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_private_training_names_the_layer_to_use_instead(factory: Factory, layer: str) -> None:
    """Opacus has its own layers for these, with a gradient for each row."""
    model, rows_ = build_model(named(factory), {}, seed=0), rows()
    terms = PrivateTerms(PRIVACY, NoiseSecret(b"\x07" * 32), b"study 1, round 1")
    plan = TrainingSpec(learning_rate=0.1, batch_size=8, local_steps=2)
    with pytest.raises(LearningError, match=layer):
        train_locally(model, flatten(model), rows_, plan, seed=1, private=terms)


@pytest.mark.parametrize(("factory", "layer"), PER_RECORD[::2])
@too_late("private training is first tried at the sites")
def test_private_study_is_refused_before_it_is_created(
    tmp_path: Path, factory: Factory, layer: str
) -> None:
    """The sponsor hears of the layer, not every hospital."""
    scenario = study_of(factory).model_copy(update={"privacy": PRIVACY})
    with pytest.raises(LearningError, match=layer):
        set_up(scenario, tmp_path)
