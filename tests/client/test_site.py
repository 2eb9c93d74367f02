"""What a site checks before it trains, and what it signs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from tests.integration.networks import small_scenario
from wardround.learning.datasets.table import Table
from wardround.learning.errors import DataError
from wardround.learning.privacy.accountant import PrivacyAccount
from wardround.protocol.canonical import canonical_bytes, canonical_digest, sha256_digest
from wardround.protocol.contribution import Entry
from wardround.protocol.errors import (
    OutOfRange,
    ProtocolError,
    StudyMismatch,
    WardroundError,
)
from wardround.protocol.fixed_point import Int32Vector, vector_bytes
from wardround.protocol.identifiers import Digest, SiteAddress, hex_of
from wardround.protocol.merkle import vector_root
from wardround.protocol.messages import TrainTask
from wardround.protocol.record import genesis_closing
from wardround.protocol.report import parse_report
from wardround_client.app.answers import KeptAnswers
from wardround_client.app.client_app import open_home
from wardround_client.app.site import Site, training_seed
from wardround_client.errors import Refusal
from wardround_client.guard.requests import Begun, SignedAnswer
from wardround_simulations.network import Network


def task_of(network: Network) -> TrainTask:
    params = network.params
    return TrainTask(
        params,
        genesis_closing(params.initial_model),
        1,
        canonical_bytes(network.scenario.specification.document()),
    )


FRESH = itertools.count()


def site_of(network: Network, place: int = 0) -> Site:
    """A site that has kept no answer."""
    site = open_home(str(network.home(network.parties[place]).folder))
    return replace(site, answers=KeptAnswers(network.folders.root / f"answers-{next(FRESH)}"))


@dataclass
class Willing:
    """A guard without rules and without a key."""

    address: SiteAddress

    def ask(self, kind: Any, request: dict[str, Any], parts: Sequence[bytes] = ()) -> Any:
        if kind is Begun:
            return Begun(max_weight=7, secret=None, account=PrivacyAccount())
        report = sha256_digest(request["report"].encode())
        root = vector_root(parts[1])
        entry = Entry(self.address, request["weight"], root, report, bytes(65))
        return SignedAnswer(entry=hex_of(entry.pack()), report=request["report"])


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


MISMATCHES: dict[str, tuple[Callable[[TrainTask], TrainTask], type[WardroundError], str]] = {
    "study": (
        lambda task: replace(task, params=replace(task.params, rounds=99)),
        Refusal,
        "study-not-approved",
    ),
    "code": (
        lambda task: replace(task, params=replace(task.params, code=b"\x01" * 32)),
        StudyMismatch,
        "application code",
    ),
    "specification": (other_specification, StudyMismatch, "specification"),
    "a later round": (lambda task: replace(task, round=2), Refusal, "round-not-open"),
    "round zero": (lambda task: replace(task, round=0), Refusal, "request-malformed"),
    "previous": (
        lambda task: replace(task, previous=replace(task.previous, closed_at=1)),
        Refusal,
        "base-model-wrong",
    ),
    "previous model": (
        lambda task: replace(task, previous=genesis_closing(b"\x02" * 32)),  # type: ignore[arg-type]
        StudyMismatch,
        "base model",
    ),
}


@pytest.mark.parametrize("how", MISMATCHES)
def test_site_when_anything_is_not_the_chains_does_not_sign(network: Network, how: str) -> None:
    change, kind, words = MISMATCHES[how]
    with pytest.raises(kind, match=words):
        site_of(network).contribute(change(task_of(network)), network.initial.values)


def test_site_when_given_another_base_model_does_not_sign(network: Network) -> None:
    with pytest.raises(StudyMismatch, match="base model"):
        site_of(network).contribute(task_of(network), network.initial.values + np.int32(1))


def test_site_when_its_code_is_not_the_studys_does_not_sign(network: Network) -> None:
    site = replace(site_of(network), code=Digest(b"\x09" * 32))
    with pytest.raises(StudyMismatch, match="application code"):
        site.contribute(task_of(network), network.initial.values)
    with pytest.raises(StudyMismatch, match="application code"):
        site.evaluate(task_of(network), network.initial.values)


@pytest.mark.parametrize("data", [b"", b"{}", b"[[[", b"\xff", b'{"study":1}'], ids=repr)
def test_site_when_the_pinned_specification_is_none_says_so_by_name(
    network: Network, data: bytes
) -> None:
    """A sponsor may pin anything: a site refuses it without a crash."""
    params = replace(network.params, specification=sha256_digest(data))
    task = replace(task_of(network), params=params, specification=data)
    with pytest.raises(ProtocolError):
        site_of(network).contribute(task, network.initial.values)


def with_params(network: Network, **training: Any) -> tuple[Site, TrainTask, Int32Vector]:
    """A site of another study, over the same tables; the guard has no rules."""
    spec = small_scenario(**training).specification
    params = replace(network.params, specification=canonical_digest(spec.document()))
    task = replace(task_of(network), params=params, specification=canonical_bytes(spec.document()))

    site = site_of(network)
    return replace(site, guard=Willing(site.address)), task, network.initial.values


def test_weight_when_above_the_cap_is_the_cap(network: Network) -> None:
    site, task, base = with_params(network, study={"name": "capped"})
    delivery, _ = site.contribute(task, base)
    assert delivery.entry.weight == 7
    assert parse_report(delivery.report).examples == len(network.parties[0].data.train)


def test_update_when_beyond_the_studys_bound_is_never_clamped(network: Network) -> None:
    site, task, base = with_params(network, aggregation={"update_bound": 0.0001})
    with pytest.raises(OutOfRange, match=r"moved by .* more than update_bound 0\.0001"):
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
    for hidden in (key.hex(), repr(key)):
        assert hidden not in repr(site)
    assert site.name in repr(site)


def test_site_when_printed_hides_its_rows(network: Network) -> None:
    said = repr(site_of(network))
    assert str(site_of(network).train.features[0, 0]) not in said
    assert "features" not in said
