"""Networks by name, or a study's own."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from pydantic import ValidationError
from torch import nn

from wardround.learning.errors import LearningError, unsuitable
from wardround.learning.loss import count_classes
from wardround.learning.models.base import ModelSource
from wardround.learning.models.cnn import Cnn
from wardround.learning.models.factory import call_factory
from wardround.learning.models.flat import check_model, flatten, layout_of, load_flat
from wardround.learning.models.logistic import Logistic
from wardround.learning.models.mlp import Mlp
from wardround.protocol.documents import fault_of

__all__ = ["MODELS", "build_model", "check_fits", "flatten", "layout_of", "load_flat"]

MODELS: dict[str, type[ModelSource]] = {"logistic": Logistic, "mlp": Mlp, "cnn": Cnn}
"""To add a model, write a `ModelSource` in a file of its own and name it here."""


def build_model(name: str, arguments: Mapping[str, object], seed: int) -> nn.Module:
    """Make a network whose initial parameters depend on nothing but the arguments.

    Args:
        name: a key of `MODELS`, or ``package.module:factory``.
        arguments: what that model takes.
        seed: of the initial parameters, in 0 .. 2**63 - 1.
    Raises:
        LearningError: no such name; an argument that the model does not take, or not so; the
            factory gives no network; the network keeps state beside its parameters; its parameters
            are not float32 on the CPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = call_factory(name, arguments) if ":" in name else _known(name, arguments).build()
    check_model(name, model)
    return model


def check_fits(
    name: str, arguments: Mapping[str, object], shape: tuple[int, ...], classes: int
) -> None:
    """Refuse a named network that cannot take a data set's rows, without building it in memory.

    A study's own factory may compute while it builds, so only building it for real would tell.

    Args:
        name: as in `build_model`.
        arguments: what that model takes.
        shape: of one row's features.
        classes: how many the labels tell apart.
    Raises:
        LearningError: no such name; an argument that the model does not take, or not so; it takes
            rows with more numbers, or fewer; it takes other rows, or tells fewer classes apart.
    """
    if ":" in name:
        return
    source = _known(name, arguments)
    if (found := prod(shape)) != source.numbers:
        raise LearningError(
            f"the study's model {name} takes {source.numbers} features, and a row of this table "
            f"has {found}: declare the columns that the study asks for, or change the study's "
            f"[model] to take {found}."
        )
    with torch.device("meta"):
        model = source.build()
        found = count_classes(model, torch.empty(1, *shape))
    if found < classes:
        raise unsuitable(name, f"it tells {found} classes apart, and the data have {classes}")


def _known(name: str, arguments: Mapping[str, object]) -> ModelSource:
    if name not in MODELS:
        known = ", ".join(sorted(MODELS))
        raise LearningError(
            f"no model is named {name!r}: choose one of {known}, or write package.module:factory."
        )
    try:
        return MODELS[name].model_validate(dict(arguments))
    except ValidationError as exc:
        argument, reason = fault_of(exc)
        raise LearningError(f"model {name}: argument {argument!r}: {reason}.") from exc
