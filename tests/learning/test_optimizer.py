"""Our optimisers against PyTorch's own classes, which import its compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from wardround.learning.optimizer import optimizer_of
from wardround.protocol.study import TrainingSpec

STEPS = 5


def spec(optimizer: str, momentum: float, decay: float) -> TrainingSpec:
    return TrainingSpec.model_validate(
        {
            "optimizer": optimizer,
            "learning_rate": 0.1,
            "momentum": momentum,
            "weight_decay": decay,
            "batch_size": 4,
            "local_epochs": 1,
        }
    )


def peer_of(training: TrainingSpec, model: nn.Module) -> torch.optim.Optimizer:
    rate, decay = training.learning_rate, training.weight_decay
    if training.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)
    momentum = training.momentum
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum, weight_decay=decay)


def network() -> nn.Module:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3), nn.Linear(2, 2))
    model[0].bias.requires_grad_(requires_grad=False)
    return model


def descended(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    rows = torch.randn(4, 6, generator=torch.Generator().manual_seed(5))
    for _ in range(STEPS):
        optimizer.zero_grad()
        # The last layer takes no part, so that it has no gradient.
        torch.autograd.backward(model[2](model[1](model[0](rows))).square().mean())
        optimizer.step()
    return [one.detach() for one in model.parameters()]


@pytest.mark.parametrize(
    ("optimizer", "momentum", "decay"),
    [("sgd", 0.0, 0.0), ("sgd", 0.9, 0.01), ("adam", 0.0, 0.0), ("adam", 0.0, 0.01)],
)
def test_steps_are_those_of_pytorch_bit_for_bit(
    optimizer: str, momentum: float, decay: float
) -> None:
    training = spec(optimizer, momentum, decay)
    found, expected = network(), network()
    ours = descended(found, optimizer_of(training, found))
    theirs = descended(expected, peer_of(training, expected))
    assert not torch.equal(ours[1], ours[1] * 0)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_training_does_not_import_the_compiler() -> None:
    code = (
        "import sys; from tests.client.trainer.jobs import train_job, private_job; "
        "from wardround_client.trainer.local import LocalTrainer; trainer = LocalTrainer(); "
        "trainer.train(train_job()); trainer.train(private_job()); "
        "print('torch.optim' in sys.modules, 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["True", "False"]
