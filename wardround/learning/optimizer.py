"""PyTorch's optimisers as they are without its compiler, which no study uses.

PyTorch wraps some of their methods to keep the compiler out of them, and each wrapper imports the
compiler first: two seconds and 80 MiB, for every process that trains. What is wrapped is the same.

Source:
    `_disable_dynamo` and `_use_grad_for_differentiable` of PyTorch 2.13.
"""

from __future__ import annotations

from inspect import unwrap

import torch
from torch import nn

from wardround.protocol.study import TrainingSpec


class _Unwrapped(torch.optim.Optimizer):
    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)


class _Sgd(_Unwrapped, torch.optim.SGD):
    step = torch.no_grad()(unwrap(torch.optim.SGD.step))


class _Adam(_Unwrapped, torch.optim.Adam):
    step = torch.no_grad()(unwrap(torch.optim.Adam.step))


def optimizer_of(training: TrainingSpec, model: nn.Module) -> torch.optim.Optimizer:
    """Make the optimiser that a study asks for, over a network's parameters.

    Its steps give the bits of `torch.optim.SGD` and `torch.optim.Adam`.
    """
    parameters = list(model.parameters())
    rate, decay = training.learning_rate, training.weight_decay
    if training.optimizer == "adam":
        return _Adam(parameters, lr=rate, weight_decay=decay)
    return _Sgd(parameters, lr=rate, momentum=training.momentum, weight_decay=decay)
