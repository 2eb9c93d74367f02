"""DP-SGD: clip each unit's gradient, add noise to the sum, and only then let the optimiser see it.

A unit is a row, or a person with all rows of theirs; its gradient is then their mean, which is
clipped as a whole. So a person of many rows moves a step no further than one of a single row.

Source:
    Abadi et al. 2016, Algorithm 1 (arXiv:1607.00133), with Opacus' gradients for each row; McMahan
    et al. 2018 (arXiv:1710.06963) on clipping all that a person adds.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn

from wardround.learning.errors import LearningError, no_gradient_by_row
from wardround.learning.loss import classification_loss
from wardround.learning.privacy.accountant import Mechanism
from wardround.learning.privacy.layers import check_layers
from wardround.learning.privacy.noise import SecretStream
from wardround.protocol.study import PrivacySpec

#: Floats that the gradients of single rows may take at a time. 16 MiB bound the memory, and are
#: twice as fast as 256, which a core's cache cannot hold.
_FLOATS_MAX = 1 << 22
#: Rows with which a network is tried out.
_PROBE_ROWS = 4


@dataclass(frozen=True, eq=False)
class _StepPart:
    """Rows of a step whose gradients are held at a time.

    Attributes:
        rows: their places in the table, int64, shape (n,).
        units: which unit of the part each belongs to, int64, shape (n,), ascending from 0.
        shares: one over the number of rows that the unit has in all, float64, shape (n,).
        goes_on: the last unit has more rows, in the next part.
        is_last: of its step.
    """

    rows: torch.Tensor
    units: torch.Tensor
    shares: torch.Tensor
    goes_on: bool
    is_last: bool


class SecretNoise(DPOptimizer):  # type: ignore[misc]  # Opacus has no types
    """Opacus' optimiser with noise that only the site can foresee."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        privacy: PrivacySpec,
        expected_units: float,
        stream: SecretStream,
    ) -> None:
        super().__init__(
            optimizer,
            noise_multiplier=privacy.noise_multiplier,
            max_grad_norm=privacy.max_grad_norm,
            # How many units were drawn is secret: the sum is divided by their expectation.
            expected_batch_size=expected_units,
        )
        self._stream = stream
        #: What the next step is of; None: each row is a unit.
        self.part: _StepPart | None = None
        #: Of the unit that the last part left open, for each parameter.
        self._open: list[torch.Tensor] = []

    def clip_and_accumulate(self) -> None:
        """Clip and sum in float64: sums of float32 may exceed the bound that the noise is for.

        Source:
            Casacuberta et al. 2022, "Widespread underestimation of sensitivity in differentially
            private libraries" (arXiv:2207.10635).
        """
        samples = [
            sample.reshape(len(sample), parameter.numel()).double()
            for parameter, sample in zip(self.params, self.grad_samples, strict=True)
        ]
        # Rows that are units of their own are so already, and averaging takes as long as clipping.
        if self.part is not None and (self.part.shares < 1).any():
            samples = self._of_units(self.part, samples)
        norms = torch.stack([one.square().sum(dim=1) for one in samples]).sum(dim=0).sqrt()
        # A gradient of zero stays zero.
        factors = (self.max_grad_norm / norms.clamp(min=1e-300)).clamp(max=1.0)
        for parameter, sample in zip(self.params, samples, strict=True):
            total = (factors @ sample).view_as(parameter)
            before = parameter.summed_grad
            parameter.summed_grad = total if before is None else before + total

    def _of_units(self, part: _StepPart, samples: list[torch.Tensor]) -> list[torch.Tensor]:
        """Average the rows of each unit that ends in this part."""
        count = int(part.units[-1]) + 1 if len(part.units) else 0
        means = []
        for sample in samples:
            mean = torch.zeros((count, sample.shape[1]), dtype=sample.dtype)
            means.append(mean.index_add_(0, part.units, sample * part.shares[:, None]))
        for mean, begun in zip(means, self._open, strict=bool(self._open)):
            mean[0] += begun
        self._open = [mean[-1].clone() for mean in means] if part.goes_on else []
        return [mean[:-1] for mean in means] if part.goes_on else means

    def add_noise(self) -> None:
        """Add it in float64 and round the sum, so that low bits do not tell sum and noise apart.

        Source:
            Mironov 2012, "On significance of the least significant bits for differential privacy".
        """
        deviation = self.noise_multiplier * self.max_grad_norm
        for parameter in self.params:
            noise = torch.from_numpy(self._stream.normal(parameter.numel()))
            total = parameter.summed_grad + deviation * noise.view_as(parameter)
            parameter.grad = total.to(parameter.dtype)


def descend_privately(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    features: torch.Tensor,
    labels: torch.Tensor,
    units: npt.NDArray[np.int64],
    privacy: PrivacySpec,
    mechanism: Mechanism,
    stream: SecretStream,
) -> None:
    """Take the mechanism's steps; the model's parameters change in place.

    Neither losses nor the units of a step are returned: they have no noise in them.

    Args:
        model: in training mode.
        optimizer: over the model's parameters.
        features: float32, shape (n, ...), n >= 1.
        labels: int64, shape (n,), in range.
        units: which unit each row belongs to: int64, shape (n,), numbers from 0 on.
        privacy: clipping and noise.
        mechanism: sampling and number of steps.
        stream: of this training alone.
    Raises:
        LearningError: one row changes what the network gives for another; Opacus finds no gradient
            for each row.
    """
    parameters = [one for one in model.parameters() if one.requires_grad]
    check_layers(model)
    _check_apart(model, features[:_PROBE_ROWS])
    count = int(units.max()) + 1
    with _row_by_row(model) as hooked:
        _check_per_record(hooked, parameters, features[:_PROBE_ROWS], labels[:_PROBE_ROWS])
        private = SecretNoise(optimizer, privacy, mechanism.sample_rate * count, stream)
        at_once = max(1, _FLOATS_MAX // sum(one.numel() for one in parameters))
        in_order = np.argsort(units, kind="stable")
        for _ in range(mechanism.steps):
            chosen = np.zeros(count, np.bool_)
            chosen[stream.choose(count, mechanism.sample_rate)] = True
            for part in _parts(in_order[chosen[units[in_order]]], units, at_once):
                private.zero_grad(set_to_none=True)
                _row_gradients(hooked, parameters, features[part.rows], labels[part.rows])
                private.signal_skip_step(do_skip=not part.is_last)
                private.part = part
                private.step()
        private.zero_grad(set_to_none=True)


def _parts(
    rows: npt.NDArray[np.int64], units: npt.NDArray[np.int64], size: int
) -> Iterator[_StepPart]:
    """Divide a step's rows so that their gradients fit memory; no rows are one empty part.

    Args:
        rows: places in the table; those of a unit are next to each other.
        units: which unit each row of the table belongs to.
        size: rows a part.
    """
    _, whose, counts = np.unique(units[rows], return_inverse=True, return_counts=True)
    shares = 1.0 / counts[whose]
    for start in range(0, max(1, len(rows)), size):
        end = start + size
        here = whose[start:end]
        is_last = end >= len(rows)
        yield _StepPart(
            rows=torch.from_numpy(rows[start:end]),
            units=torch.from_numpy(here - here[:1]),
            shares=torch.from_numpy(shares[start:end]),
            goes_on=not is_last and bool(whose[end] == whose[end - 1]),
            is_last=is_last,
        )


def _row_gradients(
    hooked: nn.Module, parameters: list[nn.Parameter], features: torch.Tensor, labels: torch.Tensor
) -> None:
    """Leave each row's gradient in its parameter's ``grad_sample``."""
    if not len(labels):
        # A step without rows is noise alone, and must be taken: that it has none is secret.
        for parameter in parameters:
            parameter.grad_sample = torch.zeros((0, *parameter.shape))  # type: ignore[attr-defined]
        return
    torch.autograd.backward(classification_loss(hooked(features), labels))
    for parameter in parameters:
        # One row that overflows would ruin the sum, and the failure tell that it is there.
        torch.nan_to_num_(parameter.grad_sample, 0.0, 0.0, 0.0)  # type: ignore[attr-defined]


@contextmanager
def _row_by_row(model: nn.Module) -> Iterator[nn.Module]:
    """Hook Opacus into a network, and take it out again."""
    try:
        hooked = GradSampleModule(model, loss_reduction="mean", strict=True)
    except NotImplementedError as exc:
        reason = "it keeps buffers" if "buffers" in str(exc) else type(exc).__name__
        raise no_gradient_by_row(type(model).__name__, reason) from exc
    try:
        with warnings.catch_warnings():
            # The first layer's input needs no gradient, so torch warns about its output's instead.
            warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
            yield hooked
    finally:
        hooked.to_standard_module()
        for parameter in model.parameters():
            for name in ("grad_sample", "summed_grad", "_forward_counter", "_current_grad_sample"):
                if hasattr(parameter, name):
                    delattr(parameter, name)
        for module in model.modules():
            for name in ("activations", "max_batch_len"):
                if hasattr(module, name):
                    delattr(module, name)


def _check_apart(model: nn.Module, rows: torch.Tensor) -> None:
    """Refuse a network in which the first row's output has a gradient along another row."""
    probe = torch.cat([rows, rows]).requires_grad_()
    first = model(probe)[0].sum()
    if first.requires_grad:
        (along,) = torch.autograd.grad(first, probe, allow_unused=True)
        if along is not None and torch.count_nonzero(along[1:]):
            raise LearningError(
                f"model {type(model).__name__} lets one row change what it gives for another: "
                "use group or layer norm in place of batch norm."
            )


def _check_per_record(
    hooked: nn.Module, parameters: list[nn.Parameter], features: torch.Tensor, labels: torch.Tensor
) -> None:
    """See that Opacus finds one gradient for each row and parameter."""
    name = type(getattr(hooked, "_module", hooked)).__name__
    try:
        torch.autograd.backward(classification_loss(hooked(features), labels))
    except (RuntimeError, ValueError, NotImplementedError) as exc:
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise no_gradient_by_row(name, reason) from exc
    for parameter in parameters:
        found = getattr(parameter, "grad_sample", None)
        if not isinstance(found, torch.Tensor) or found.shape != (len(labels), *parameter.shape):
            shape = list(parameter.shape)
            raise no_gradient_by_row(name, f"none for a parameter of shape {shape}")
