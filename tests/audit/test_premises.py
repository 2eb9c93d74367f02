"""An audit names what the rounds rest on, and what of it is taken as recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.lies.documents import STUDIES, honest
from tests.lies.played import Played, parameters_of, specification
from wardround.audit.audit import StudyAudit
from wardround.audit.first_model import rebuild_first_model
from wardround.audit.premises import premises_of
from wardround.host.code import application_digest
from wardround.learning.initial import initial_model
from wardround.protocol.errors import ReplayFailed
from wardround.protocol.identifiers import Root, hex_of
from wardround.protocol.settlement import Vector


def audit_of(played: Played) -> StudyAudit:
    return StudyAudit(played.ward, played.study, played.store)


def test_training_code_that_is_installed_here_is_compared() -> None:
    spec = STUDIES["clipped"]
    params = replace(
        parameters_of(spec, Vector.of(initial_model(spec).values)), code=application_digest()
    )
    played = Played.created(spec, params)
    contract, training, first = premises_of(audit_of(played), played.ward, None)
    assert (contract.is_compared, training.is_compared, first.is_compared) == (True, True, False)
    assert training.sentence() == "training code: its digest is that of the code installed here"


def test_training_code_of_another_release_is_taken_as_recorded() -> None:
    study = honest()
    work = StudyAudit(study.ward, study.study, study.store)
    _, training, _ = premises_of(work, study.ward, None)
    recorded, installed = hex_of(work.facts.params.code), hex_of(application_digest())
    assert training.sentence().startswith("training code: taken as recorded; its digest is 0x11")
    assert recorded in training.words
    assert installed in training.words


@pytest.mark.parametrize("built", [None, "built again"])
def test_first_model_is_compared_where_it_was_built(built: str | None) -> None:
    study = honest()
    work = StudyAudit(study.ward, study.study, study.store)
    first = premises_of(work, study.ward, built)[-1]
    assert first.is_compared == (built is not None)
    assert ("taken as recorded" in first.sentence()) == (built is None)


def drawn(*, spec: dict[str, Any] | None = None, **parameters: Any) -> StudyAudit:
    """The audit of a study whose first model is drawn from its seed, and lied about."""
    tables = {
        "study": {"seed": 5},
        "model": {"name": "mlp", "arguments": {"features": 6, "hidden": [4]}},
    }
    first = Vector.of(initial_model(specification(**tables)).values)
    lying = specification(**{**tables, **(spec or {})})
    params = replace(parameters_of(lying, first), parameter_count=first.values.size)
    return audit_of(Played.created(lying, replace(params, **parameters)))


def test_first_model_that_follows_from_the_specification_is_equal() -> None:
    assert "built again in a sandbox" in rebuild_first_model(drawn())


@pytest.mark.parametrize(
    "lie",
    [
        {"initial_model": Root(b"\x07" * 32)},
        {"parameter_count": 1},
        {"spec": {"study": {"seed": 6}}},
        pytest.param(
            {"spec": {"model": {"name": "mlp", "arguments": {"features": 6, "hidden": [5]}}}},
            marks=pytest.mark.deep,
        ),
    ],
    ids=["another root", "another length", "another seed", "another model"],
)
def test_lie_about_the_first_model_is_named_on_request(lie: dict[str, Any]) -> None:
    with pytest.raises(ReplayFailed, match="round 1: first model: built again here by PyTorch"):
        rebuild_first_model(drawn(**lie))
