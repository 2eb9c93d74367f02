"""A study's own network: what it is named after, what it keeps, and one dry step before a study.

A sponsor learns of a network that cannot be federated before anything is created. So each study
here is set up by an account without money: the first transaction raises `TransactionRefused`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eth_account import Account

from tests.integration.networks import CHAIN_ID, FEATURES, own_scenario, prepared
from wardround.chain.errors import TransactionRefused
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.evm import Genesis
from wardround.learning.datasets.table import Table
from wardround.learning.errors import LearningError
from wardround.learning.metrics import evaluate
from wardround.learning.models import build_model, flatten
from wardround.learning.models.own import build_own
from wardround.learning.privacy.noise import NoiseSecret
from wardround.learning.privacy.terms import PrivateTerms
from wardround.learning.training import train_locally
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.errors import WardroundError
from wardround.protocol.messages import TrainTask
from wardround.protocol.record import genesis_closing
from wardround.protocol.study import PrivacySpec, TrainingSpec, load_study
from wardround.store import FolderStore
from wardround_client.guard.client import guard_of
from wardround_client.trainer.base import PredictJob
from wardround_client.trainer.local import LocalTrainer
from wardround_coordinator.sponsoring import create_study
from wardround_simulations.network import Network, new_folder, new_keys, prepare
from wardround_simulations.scenario import Scenario

OWN = Path(__file__).with_name("own_networks.py")
FILES = {OWN.name: OWN.read_bytes()}

PRIVACY = PrivacySpec(noise_multiplier=1.0, max_grad_norm=1.0, delta=1e-5)


def study_of(factory: str, **tables: Any) -> Scenario:
    """A study whose model is built by a function of ``own_networks.py``."""
    return own_scenario(FILES, factory, **tables)


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


@pytest.mark.parametrize("ask", ["train", "measure"])
@pytest.mark.parametrize(
    "order", ["gamma alpha beta", "delta beta gamma"], ids=["other", "renamed"]
)
def test_site_whose_parameters_stand_in_another_order_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: str, order: str
) -> None:
    """Every weight has the same value, and means another thing: a set has no order to keep."""
    with prepared(study_of("assembled"), tmp_path / "network") as network:
        monkeypatch.setenv("PARTS", order)
        with pytest.raises(WardroundError, match=r"layout|order"):
            asked(network, ask)


def test_site_whose_parameters_stand_as_pinned_trains(tmp_path: Path) -> None:
    """The same study, unchanged: no refusal."""
    with prepared(study_of("assembled"), tmp_path / "network") as network:
        assert asked(network, "train").any()
        assert asked(network, "measure").shape == (24, 2)


def asked(network: Network, ask: str) -> np.ndarray:
    """Let a site train in the first round, or its trainer say what the first model predicts."""
    base, spec = network.initial.values, network.scenario.specification
    document = canonical_bytes(spec.document())
    if ask == "measure":
        return LocalTrainer().predict(PredictJob(document, base, rows().features, 2, spec.files))
    task = TrainTask(network.params, genesis_closing(network.params.initial_model), 1, document)
    return guard_of(network.home(network.parties[0])).train(task, base)[1]


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
        f"{build_own.__module__}:import_module",
        "name = 'field_proof'",
    ),
    "a module beside ours": ("field_proof:factory", ""),
}


@pytest.mark.parametrize("what", FOREIGN)
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
        with pytest.raises(WardroundError, match=re.escape(name)):
            spec = load_study(text, "study.toml")
            build_model(spec.model, spec.files, spec.study.seed)
    finally:
        sys.modules.pop("field_proof", None)
    assert not (tmp_path / "proof").exists()


# ---------------------------------------------------------------- state beside the parameters


@pytest.mark.parametrize(
    "factory", ["normalised", "remembering_tensor", "remembering_list", "remembering_number"]
)
def test_network_that_keeps_state_beside_its_parameters_is_refused(
    tmp_path: Path, factory: str
) -> None:
    """No update carries that state, so the published model is another than the measured one."""
    with pytest.raises(LearningError):
        set_up(study_of(factory), tmp_path)


@pytest.mark.parametrize("factory", ["masked", "partly_frozen", "assembled"])
def test_network_that_can_be_federated_gets_as_far_as_the_chain(
    tmp_path: Path, factory: str
) -> None:
    """A constant is no state, and a frozen layer is no hindrance."""
    with pytest.raises(TransactionRefused):
        set_up(study_of(factory), tmp_path)


# ---------------------------------------------------------------- one dry step


@pytest.mark.parametrize("start", [set_up, sponsor], ids=["simulation", "sponsor"])
@pytest.mark.parametrize("factory", ["frozen", "frozen_alone"])
def test_network_with_nothing_to_train_is_refused_before_a_study_is_created(
    tmp_path: Path, start: Callable[[Scenario, Path], None], factory: str
) -> None:
    """Every site would fail at its first step."""
    with pytest.raises(LearningError):
        start(study_of(factory), tmp_path)


@pytest.mark.parametrize(
    "factory", ["with_auxiliary", "in_a_table_in_training", "in_a_table", "summed_in_training"]
)
def test_network_whose_output_has_another_form_is_refused_before_a_study_is_created(
    tmp_path: Path, factory: str
) -> None:
    """A second head that exists in training only, as many networks have, fails at every site."""
    with pytest.raises(LearningError):
        set_up(study_of(factory), tmp_path)


@pytest.mark.parametrize("factory", ["bfloat16", "float16"])
def test_network_of_short_logits_is_refused_early_or_can_be_measured(
    tmp_path: Path, factory: str
) -> None:
    """No round closes whose model the sites cannot measure."""
    try:
        set_up(study_of(factory), tmp_path)
    except LearningError:
        return
    except TransactionRefused:
        model = build_model(study_of(factory).model, FILES, seed=0)
    plan = TrainingSpec(learning_rate=0.1, batch_size=8, local_epochs=1)
    result = train_locally(model, flatten(model), rows(), plan, seed=1)
    assert evaluate(model, result.weights, rows(seed=1)).examples == 24


@pytest.mark.parametrize("factory", ["batch_norm", "batch_norm_of_pictures"])
def test_batch_norm_without_statistics_is_refused_by_what_it_needs(
    tmp_path: Path, factory: str
) -> None:
    """It cannot answer for one row; group norm can."""
    with pytest.raises(LearningError, match=r"more than one row|group (or layer )?norm"):
        set_up(study_of(factory), tmp_path)


# ---------------------------------------------------------------- layers without row gradients


PER_RECORD = [
    ("lstm", "DPLSTM"),
    ("gru", "DPGRU"),
    ("transformer", "DPMultiheadAttention"),
    ("attention", "DPMultiheadAttention"),
]


@pytest.mark.parametrize(("factory", "layer"), PER_RECORD)
@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_private_training_names_the_layer_to_use_instead(factory: str, layer: str) -> None:
    """Opacus has its own layers for these, with a gradient for each row."""
    model, rows_ = build_model(study_of(factory).model, FILES, seed=0), rows()
    terms = PrivateTerms(PRIVACY, NoiseSecret(b"\x07" * 32), b"study 1, round 1")
    plan = TrainingSpec(learning_rate=0.1, batch_size=8, local_steps=2)
    with pytest.raises(LearningError, match=layer):
        train_locally(model, flatten(model), rows_, plan, seed=1, private=terms)


@pytest.mark.parametrize(("factory", "layer"), PER_RECORD[::2])
def test_private_study_is_refused_before_it_is_created(
    tmp_path: Path, factory: str, layer: str
) -> None:
    """The sponsor hears of the layer, not every hospital."""
    scenario = study_of(factory).model_copy(update={"privacy": PRIVACY})
    with pytest.raises(LearningError, match=layer):
        set_up(scenario, tmp_path)
