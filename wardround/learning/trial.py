"""One dry step: try a study's model on made-up rows before a chain is touched.

Sponsor and simulation call `try_model` before they send a transaction, and a site's confined
trainer before its administrator approves. What fails here would fail at every hospital.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from wardround.learning.datasets.table import Table
from wardround.learning.errors import LearningError, unsuitable
from wardround.learning.initial import InitialModel, initial_of
from wardround.learning.metrics import evaluate
from wardround.learning.models import build_model, flatten, load_flat, row_shape_of
from wardround.learning.models.own import own_modules
from wardround.learning.models.state import kept_by, unregistered
from wardround.learning.privacy.noise import NoiseSecret
from wardround.learning.privacy.terms import PrivateTerms
from wardround.learning.repeatable import repeatable
from wardround.learning.training import train_locally
from wardround.protocol.fixed_point import Float32Vector
from wardround.protocol.study import PrivacySpec, StudySpec, TrainingSpec

SpecT = TypeVar("SpecT", bound=StudySpec)

#: Three batches, of which the last has one row, as may happen at any site.
_ROWS, _BATCH, _STEPS = 5, 2, 3
_SEED = 1
_NAMES_SHOWN = 3


def try_model(spec: SpecT) -> tuple[SpecT, InitialModel]:
    """Build a study's model, train, measure and compare it; runs a study's own code.

    Args:
        spec: with the study's own files, where it has any.
    Returns:
        The specification, in which a model of the study's own has its layout pinned; and ``M_0``.
    Raises:
        LearningError: the model cannot be built; it has nothing to train; its output has another
            form, in training or evaluation; it keeps state beside its parameters; one row
            changes its answer for another; private training finds no gradient for each row.
        StudyMismatch: a file or the layout is not the one that the study pins.
        OutOfRange: an initial weight does not fit the fixed-point range.
    """
    model = build_model(spec.model, spec.files, spec.study.seed)
    initial = initial_of(model, spec.aggregation.scale_bits)
    with repeatable(spec.training.threads, _SEED):
        _Trial(spec, model).run()
    return spec.pinned(initial.layout), initial


class _Trial:
    """A network under trial, and made-up rows that fit it."""

    def __init__(self, spec: StudySpec, model: nn.Module) -> None:
        self.spec, self.model = spec, model
        self.label = spec.model.label
        self.weights = flatten(model)
        self.modules = own_modules(spec.model) if spec.model.is_own else {}
        random = np.random.default_rng(_SEED)
        shape = row_shape_of(spec.model)
        # In [0, 1), where scaled features are and a logarithm is defined.
        self.rows, self.others = (
            torch.from_numpy(random.random((_ROWS, *shape), dtype=np.float32)) for _ in range(2)
        )

    def run(self) -> None:
        """Try everything that a site will do."""
        if not any(one.requires_grad for one in self.model.parameters()):
            names = _some([name for name, _ in self.model.named_parameters()])
            raise LearningError(
                f"model {self.label} has nothing to train: all its parameters ({names}) are "
                "frozen; leave requires_grad on where it shall learn."
            )
        if strays := unregistered(self.model):
            raise LearningError(
                f"model {self.label} holds parameters that are not its own ({_some(strays)}), so "
                "they are never trained: keep layers in nn.ModuleList or nn.ModuleDict, not in a "
                "list or table."
            )
        for training in (False, True):
            self._check_answers(training=training)
        self._check_training()

    # ---------------------------------------------------------------- answers

    def _check_answers(self, *, training: bool) -> None:
        mode = "training" if training else "evaluation"
        whole = self._answer(self.rows, training=training)
        mixed = torch.cat([self.rows[:1], self.others[1:]])
        apart = [self._answer(mixed, training=training)[0]]
        alone = self._answer(self.rows[:1], training=training)[0]
        if not training:
            # In training a row alone may get other random numbers, such as those of dropout.
            apart.append(alone)
        if not all(torch.allclose(whole[0], one, rtol=1e-3, atol=1e-5) for one in apart):
            raise LearningError(
                f"model {self.label} lets one row change what it gives for another in {mode} mode: "
                "use group or layer norm in place of batch norm."
            )

    def _answer(self, rows: torch.Tensor, *, training: bool) -> torch.Tensor:
        mode = "training" if training else "evaluation"
        self.model.train(training)
        torch.manual_seed(_SEED)
        with torch.no_grad(), _naming(self.model) as layers:
            try:
                answer = self.model(rows)
            except Exception as error:
                raise self._fails(error, layers, len(rows), mode) from error
        return self._checked(answer, len(rows), mode)

    def _checked(self, answer: Any, rows: int, mode: str) -> torch.Tensor:
        where = f"in {mode} mode its output for {rows} rows is"
        if not isinstance(answer, torch.Tensor):
            raise unsuitable(self.label, f"{where} a {type(answer).__name__}, no tensor")
        if answer.dtype != torch.float32:
            raise unsuitable(self.label, f"{where} {answer.dtype}: end with .float()")
        classes = self.spec.model.classes
        shape, widths = tuple(answer.shape), {1, 2} if classes == 2 else {classes}
        fits = shape == (rows,) and 1 in widths
        fits |= len(shape) == 2 and shape[0] == rows and (classes is None or shape[1] in widths)
        if not fits:
            raise unsuitable(self.label, f"{where} of shape {shape}")
        if not torch.isfinite(answer).all():
            raise LearningError(
                f"model {self.label} gives NaN or infinity in {mode} mode for rows of numbers "
                "between 0 and 1: change its layers or initial parameters."
            )
        return answer.reshape(rows, -1)

    def _fails(self, error: Exception, layers: list[str], rows: int, mode: str) -> LearningError:
        at = f"layer {layers[-1]}" if layers else "forward"
        if isinstance(error, ValueError) and "more than 1 value per channel" in str(error):
            return LearningError(
                f"model {self.label} cannot answer for one row ({at} needs more than one row "
                f"in {mode} mode): use group or layer norm in place of batch norm."
            )
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        return unsuitable(self.label, f"in {mode} mode {at} fails for {rows} rows: {text}")

    # ---------------------------------------------------------------- training

    def _check_training(self) -> None:
        answer, kept = self._at_start()
        plan = self.spec.training.model_copy(
            update={
                "batch_size": _BATCH,
                "local_steps": _STEPS,
                "local_epochs": None,
                # These rows are not the study's, for which its rate is meant.
                "learning_rate": min(self.spec.training.learning_rate, 1e-3),
            }
        )
        classes = 2 if answer.shape[1] == 1 else answer.shape[1]
        labels = np.arange(_ROWS, dtype=np.int64) % classes
        table = Table(self.rows.numpy(), labels)
        trained = self._train(table, plan)
        evaluate(self.model, trained, table, plan.threads)
        if self.spec.privacy is not None:
            self._train(table, plan, self.spec.privacy)
        self._compare(answer, kept)
        if not np.array_equal(trained, self._train(table, plan)):
            raise LearningError(
                f"model {self.label} trains to other parameters from the same rows and seed: take "
                "random numbers from torch alone, without a generator of its own, and no time."
            )

    def _train(
        self, table: Table, plan: TrainingSpec, privacy: PrivacySpec | None = None
    ) -> Float32Vector:
        terms = None
        if privacy is not None:
            # A table of five rows spends more than one of a site would.
            unlimited = privacy.model_copy(update={"target_epsilon": None})
            terms = PrivateTerms(unlimited, NoiseSecret(bytes(32)), b"trial")
        with _naming(self.model) as layers:
            try:
                return train_locally(self.model, self.weights, table, plan, _SEED, terms).weights
            except LearningError:
                raise
            except Exception as error:
                raise self._fails(error, layers, _BATCH, "training") from error

    def _at_start(self) -> tuple[torch.Tensor, dict[str, str]]:
        """Answer with the initial parameters, and look at what else the network keeps."""
        load_flat(self.model, self.weights)
        answer = self._answer(self.rows, training=False)
        return answer, kept_by(self.model, self.modules)

    def _compare(self, answer: torch.Tensor, kept: dict[str, str]) -> None:
        again, after = self._at_start()
        changed = sorted(
            place for place in kept.keys() | after.keys() if kept.get(place) != after.get(place)
        )
        if changed or not torch.equal(answer, again):
            what = _some(changed) if changed else "its answers change with equal parameters"
            raise LearningError(
                f"model {self.label} keeps state beside its parameters ({what}), which no update "
                "would carry: use group or layer norm in place of batch norm, and keep constants "
                "only."
            )


@contextmanager
def _naming(model: nn.Module) -> Iterator[list[str]]:
    """Collect the names of the layers that are at work; the last is the innermost."""
    at_work: list[str] = []
    handles = []
    for name, layer in model.named_modules():
        label = f"{name} ({type(layer).__name__})" if name else type(layer).__name__

        def enter(*_: Any, label: str = label) -> None:
            at_work.append(label)

        def leave(*_: Any) -> None:
            at_work.pop()

        handles.append(layer.register_forward_pre_hook(enter))
        handles.append(layer.register_forward_hook(leave))
    try:
        yield at_work
    finally:
        for handle in handles:
            handle.remove()


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    return f"{shown}, …" if len(names) > _NAMES_SHOWN else shown
