"""Networks by name, or a study's own."""

from __future__ import annotations

from math import prod

import torch
from pydantic import ValidationError
from torch import nn

from wardround.learning.errors import LearningError, unsuitable
from wardround.learning.loss import count_classes
from wardround.learning.models.base import ModelSource
from wardround.learning.models.cnn import Cnn
from wardround.learning.models.flat import check_model, flatten, layout_of, load_flat
from wardround.learning.models.logistic import Logistic
from wardround.learning.models.mlp import Mlp
from wardround.learning.models.own import build_own
from wardround.protocol.documents import fault_of
from wardround.protocol.model import ModelSpec, StudyFiles

__all__ = [
    "MODELS",
    "build_model",
    "check_fits",
    "flatten",
    "layout_of",
    "load_flat",
    "row_shape_of",
]

MODELS: dict[str, type[ModelSource]] = {"logistic": Logistic, "mlp": Mlp, "cnn": Cnn}
"""To add a model, write a `ModelSource` in a file of its own and name it here."""


def build_model(model: ModelSpec, files: StudyFiles, seed: int) -> nn.Module:
    """Make a network whose initial parameters depend on nothing but the arguments.

    A study's own files are imported here, and their code runs with the rights of this process:
    see `wardround.learning.models.own`.

    Args:
        model: a name of `MODELS` and its arguments; or file, factory and arguments.
        files: the study's own.
        seed: of the initial parameters, in 0 .. 2**63 - 1.
    Raises:
        StudyMismatch: a file is not the one that the study pins, or the parameters have other
            names, shapes or another order than pinned.
        LearningError: no such name; an argument that the model does not take, or not so; the
            factory gives no network; the network keeps state beside its parameters; its parameters
            are not float32 on the CPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_own(model, files) if model.is_own else _known(model).build()
    check_model(model.label, network)
    model.check_layout(layout_of(network))
    return network


def row_shape_of(model: ModelSpec) -> tuple[int, ...]:
    """Shape of one row's features, as the model takes them.

    Raises:
        LearningError: no such name; an argument that the model does not take, or not so.
    """
    return tuple(model.row_shape) if model.row_shape is not None else _known(model).row_shape


def check_fits(model: ModelSpec, shape: tuple[int, ...], classes: int) -> None:
    """Refuse a model that cannot take a data set's rows, without running a study's own code.

    Args:
        model: of the study.
        shape: of one row's features.
        classes: how many the labels tell apart.
    Raises:
        LearningError: no such name; an argument that the model does not take, or not so; it takes
            rows with more numbers, or fewer; it takes other rows, or tells fewer classes apart.
    """
    wanted = row_shape_of(model)
    if (found := prod(shape)) != (asked := prod(wanted)):
        raise LearningError(
            f"the study's model {model.label} takes {asked} features, and a row of this table "
            f"has {found}: declare the columns that the study asks for, or change the study's "
            f"[model] to take {found}."
        )
    if model.classes is not None:
        if shape != wanted:
            raise unsuitable(model.label, f"it takes rows of shape {wanted}, these have {shape}")
        told_apart = model.classes
    else:
        with torch.device("meta"):
            told_apart = count_classes(_known(model).build(), torch.empty(1, *shape))
    if told_apart < classes:
        reason = f"it tells {told_apart} classes apart, and the data have {classes}"
        raise unsuitable(model.label, reason)


def _known(model: ModelSpec) -> ModelSource:
    assert model.name is not None  # the caller has asked
    if model.name not in MODELS:
        known = ", ".join(sorted(MODELS))
        raise LearningError(
            f"no model is named {model.name!r}: choose one of {known}, or give a file of the "
            "study's own."
        )
    try:
        return MODELS[model.name].model_validate(dict(model.arguments))
    except ValidationError as exc:
        argument, reason = fault_of(exc)
        raise LearningError(f"model {model.name}: argument {argument!r}: {reason}.") from exc
