"""What a site checks before it trains, and what it signs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.networks import small_scenario
from wardround.chain.errors import ChainError
from wardround.learning.datasets import Table
from wardround.learning.errors import DataError
from wardround.protocol.canonical import canonical_bytes, canonical_digest
from wardround.protocol.errors import (
    OutOfRange,
    ProtocolError,
    RoundOver,
    StudyMismatch,
    WardroundError,
)
from wardround.protocol.fixed_point import Int32Vector, vector_bytes
from wardround.protocol.identifiers import Digest, StudyId, hex_of
from wardround.protocol.merkle import vector_root
from wardround.protocol.messages import TrainTask
from wardround.protocol.record import genesis_closing
from wardround.protocol.report import parse_report
from wardround_client.app.client_app import open_site
from wardround_client.app.signing import KeySigner
from wardround_client.app.site import Site, training_seed
from wardround_simulations.network import Network


def task_of(network: Network) -> TrainTask:
    params = network.params
    return TrainTask(
        params,
        genesis_closing(params.initial_model),
        1,
        canonical_bytes(network.scenario.specification.document()),
    )


def site_of(network: Network, place: int = 0) -> Site:
    return open_site(str(network.folders.sites / network.parties[place].name))


def test_contribution_when_made_is_signed_and_complete(network: Network) -> None:
    site, task, base = site_of(network), task_of(network), network.initial.values
    delivery, update = site.contribute(task, base)
    entry = delivery.entry
    assert (delivery.study, delivery.round) == (network.study, 1)
    assert entry.site == network.parties[0].account.address
    assert entry.weight == len(network.parties[0].data.train)
    assert entry.update == vector_root(vector_bytes(update))
    statement = entry.contribution(network.study, 1, network.params.initial_model)
    statement.check_signature(network.contract.domain, entry.signature)
    report = parse_report(delivery.report)
    assert report.examples == entry.weight
    assert report.code == hex_of(network.params.code)
    assert report.privacy is None
    assert update.any()


def test_update_when_made_twice_is_equal_byte_for_byte(network: Network) -> None:
    site, task, base = site_of(network), task_of(network), network.initial.values
    first, second = (site.contribute(task, base)[1] for _ in range(2))
    assert vector_bytes(first) == vector_bytes(second)


def test_seed_when_site_round_or_study_differ_is_another() -> None:
    spec = small_scenario().specification
    other = small_scenario(study={"seed": 6}).specification
    seeds = {
        training_seed(chosen, name, number)
        for chosen in (spec, other)
        for name in ("a", "b")
        for number in (1, 2)
    }
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_base_model_when_trained_from_is_not_changed(network: Network) -> None:
    base = network.initial.values.copy()
    site_of(network).contribute(task_of(network), base)
    np.testing.assert_array_equal(base, network.initial.values)


def other_specification(task: TrainTask) -> TrainTask:
    spec = small_scenario(training={"learning_rate": 0.3}).specification
    return replace(task, specification=canonical_bytes(spec.document()))


MISMATCHES: dict[str, tuple[Callable[[TrainTask], TrainTask], str]] = {
    "study": (lambda task: replace(task, params=replace(task.params, rounds=99)), "study"),
    "code": (lambda task: replace(task, params=replace(task.params, code=b"\x01" * 32)), "study"),
    "specification": (other_specification, "specification"),
    "round": (lambda task: replace(task, round=2), "round"),
    "round zero": (lambda task: replace(task, round=0), "round"),
    "previous": (
        lambda task: replace(task, previous=replace(task.previous, closed_at=1)),
        "record of the round before",
    ),
    "previous model": (
        lambda task: replace(task, previous=genesis_closing(b"\x02" * 32)),  # type: ignore[arg-type]
        "record of the round before",
    ),
}


@pytest.mark.parametrize("how", MISMATCHES)
def test_site_when_anything_is_not_the_chains_does_not_sign(network: Network, how: str) -> None:
    change, what = MISMATCHES[how]
    with pytest.raises(StudyMismatch) as refusal:
        site_of(network).contribute(change(task_of(network)), network.initial.values)
    assert refusal.value.what == what


def test_site_when_asked_late_says_that_the_round_is_over(network: Network) -> None:
    task = replace(task_of(network), round=0)
    with pytest.raises(RoundOver, match="round 0 is closed and round 1 is open"):
        site_of(network).contribute(task, network.initial.values)


def test_site_when_given_another_base_model_does_not_sign(network: Network) -> None:
    with pytest.raises(StudyMismatch, match="base model"):
        site_of(network).contribute(task_of(network), network.initial.values + np.int32(1))


def test_site_when_its_code_is_not_the_studys_does_not_sign(network: Network) -> None:
    site = replace(site_of(network), code=Digest(b"\x09" * 32))
    with pytest.raises(StudyMismatch, match="application code"):
        site.contribute(task_of(network), network.initial.values)
    with pytest.raises(StudyMismatch, match="application code"):
        site.evaluate(task_of(network), network.initial.values)


def test_site_when_its_own_study_is_another_does_not_sign(network: Network) -> None:
    site = replace(site_of(network), study=StudyId(b"\x09" * 32))
    with pytest.raises(StudyMismatch, match="study"):
        site.contribute(task_of(network), network.initial.values)


@pytest.mark.parametrize("data", [b"", b"{}", b"[[[", b"\xff", b'{"study":1}'], ids=repr)
def test_site_when_the_pinned_specification_is_none_says_so_by_name(
    network: Network, data: bytes
) -> None:
    """A sponsor may pin anything: a site refuses it without a crash."""
    from wardround.protocol.canonical import sha256_digest

    params = replace(network.params, specification=sha256_digest(data))
    task = replace(task_of(network), params=params, specification=data)
    site = replace(site_of(network), study=params.study_id)
    with pytest.raises(ProtocolError):
        site.contribute(task, network.initial.values)


def with_params(network: Network, **training: Any) -> tuple[Site, TrainTask, Int32Vector]:
    """A site of another study, over the same tables; the chain is asked only for the round."""
    spec = small_scenario(**training).specification
    params = replace(network.params, specification=canonical_digest(spec.document()))
    task = replace(task_of(network), params=params, specification=canonical_bytes(spec.document()))

    class OneRound:
        round = 1
        previous_commitment = task.previous.commitment

    class Chain:
        def open_round(self, study: StudyId) -> OneRound:
            return OneRound()

        def max_weight(self, study: StudyId, site: Any) -> int:
            return 7

    site = replace(site_of(network), study=params.study_id, chain=Chain())
    return site, task, network.initial.values


def test_weight_when_above_the_cap_is_the_cap(network: Network) -> None:
    site, task, base = with_params(network, study={"name": "capped"})
    delivery, _ = site.contribute(task, base)
    assert delivery.entry.weight == 7
    assert parse_report(delivery.report).examples == len(network.parties[0].data.train)


def test_update_when_beyond_the_studys_bound_is_never_clamped(network: Network) -> None:
    site, task, base = with_params(network, aggregation={"update_bound": 0.0001})
    with pytest.raises(OutOfRange, match="update is"):
        site.contribute(task, base)


def test_training_when_it_diverges_is_an_error_by_name(network: Network) -> None:
    site, task, base = with_params(network, training={"learning_rate": 1000.0, "momentum": 0.999})
    site = replace(site, train=Table(site.train.features * np.float32(1e30), site.train.labels))
    with pytest.raises(WardroundError):
        site.contribute(task, base)


def test_site_when_it_has_no_rows_says_so(network: Network) -> None:
    site = site_of(network)
    empty = Table(site.train.features[:0], site.train.labels[:0])
    with pytest.raises(DataError):
        replace(site, train=empty).contribute(task_of(network), network.initial.values)


def test_measures_when_of_the_initial_model_are_plausible(network: Network) -> None:
    measures = site_of(network).evaluate(task_of(network), network.initial.values)
    assert measures["examples"] == len(network.parties[0].data.test)
    assert 0 <= measures["correct"] <= measures["examples"]


def test_site_when_printed_hides_its_key(network: Network) -> None:
    site = site_of(network)
    key = bytes(network.parties[0].account.key)
    assert isinstance(site.signer, KeySigner)
    assert site.signer.key == key
    for hidden in (key.hex(), repr(key)):
        assert hidden not in repr(site)
    assert site.identity.name in repr(site)


def test_site_when_printed_hides_its_rows(network: Network) -> None:
    said = repr(site_of(network))
    assert str(site_of(network).train.features[0, 0]) not in said
    assert "features" not in said


def test_site_when_its_settings_name_an_unknown_chain_says_so(
    network: Network, tmp_path: Path
) -> None:
    original = network.folders.sites / network.parties[0].name
    for path in original.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = tmp_path / "site.toml"
    text = settings.read_text("utf-8")
    settings.write_text(text.replace(network.contract.chain.url, "embedded:gone"), "utf-8")
    with pytest.raises(ChainError, match="embedded:gone"):
        open_site(str(tmp_path))
