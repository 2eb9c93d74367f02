from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.client.trainer.jobs import STUDY, predict_job, private_job, train_job
from wardround.learning.datasets.table import Table
from wardround.learning.models import build_model
from wardround.learning.training import train_locally
from wardround.protocol.fixed_point import dequantize, quantize_update
from wardround.protocol.study import load_study
from wardround_client.errors import Refusal
from wardround_client.trainer.local import LocalTrainer

UNITS = ("row", "patient")


def test_train_gives_the_update_of_training_in_fixed_point() -> None:
    job = train_job()
    spec = load_study(STUDY, "study.toml")
    model = build_model(spec.model, spec.files, spec.study.seed)
    table = Table(job.features, job.labels)
    plain = train_locally(model, dequantize(job.base, 20), table, spec.training, seed=1)
    done = LocalTrainer().train(job)
    assert np.array_equal(done.update, quantize_update(plain.weights, job.base, 20))
    assert done.mean_loss == plain.mean_loss


def test_train_with_another_seed_gives_another_update() -> None:
    trainer = LocalTrainer()
    one, other, again = (trainer.train(train_job(seed=seed)).update for seed in (1, 2, 1))
    assert not np.array_equal(one, other)
    assert np.array_equal(one, again)


def test_train_privately_tells_no_loss() -> None:
    done = LocalTrainer().train(private_job())
    assert done.mean_loss is None
    assert done.update.shape == private_job().base.shape


@pytest.mark.parametrize(("asked", "given"), [("row", "patient"), ("patient", "row")])
def test_train_privately_with_terms_of_another_unit_is_refused(asked: str, given: str) -> None:
    job = replace(private_job(unit=asked), private=private_job(unit=given).private)
    with pytest.raises(Refusal, match=f"unit of privacy.*{asked}"):
        LocalTrainer().train(job)


def test_train_privately_by_patient_gives_an_update_of_its_own() -> None:
    by_row, by_patient = (LocalTrainer().train(private_job(unit=one)) for one in UNITS)
    assert by_patient.mean_loss is None
    assert (by_row.update != by_patient.update).any()


def test_train_privately_without_terms_is_refused() -> None:
    with pytest.raises(Refusal, match="private training") as caught:
        LocalTrainer().train(replace(private_job(), private=None))
    assert caught.value.name == "trainer-failed"


def test_predict_gives_each_row_one_probability_a_class() -> None:
    found = LocalTrainer().predict(predict_job())
    assert found.dtype == np.float64
    assert found.shape == (30, 2)
    assert np.abs(found.sum(axis=1) - 1).max() < 1e-12


def test_train_with_a_model_that_does_not_fit_is_refused() -> None:
    with pytest.raises(Refusal, match="LearningError") as caught:
        LocalTrainer().train(train_job(STUDY.replace("features = 5", "features = 6")))
    assert caught.value.name == "trainer-failed"


def test_jobs_when_shown_hide_rows_and_secrets() -> None:
    job = private_job()
    shown = repr(job) + repr(predict_job())
    for hidden in ("features=", "labels=", "seed=", "secret="):
        assert hidden not in shown
