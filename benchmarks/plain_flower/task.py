"""The same network, rows and training as in `benchmarks.network`, with PyTorch alone."""

from __future__ import annotations

from itertools import pairwise

import torch
from flwr.app import UserConfig
from torch import nn

_RATE, _BATCH = 0.05, 32


def network(config: UserConfig) -> nn.Sequential:
    """Linear layers of the configured widths with ReLU between them, ending in one output."""
    widths = [*(int(width) for width in str(config["widths"]).split(",")), 1]
    layers = [(nn.Linear(*pair), nn.ReLU()) for pair in pairwise(widths)]
    return nn.Sequential(*[one for pair in layers for one in pair][:-1])


def rows_of(config: UserConfig, site: int, count: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Made-up rows of a site, whose label is the sign of the first number."""
    width = int(str(config["widths"]).split(",")[0])
    random = torch.Generator().manual_seed(site)
    rows = torch.randn(int(str(config[count])), width, generator=random)
    return rows, (rows[:, :1] > 0).float()


def train(model: nn.Module, rows: torch.Tensor, labels: torch.Tensor) -> None:
    """One epoch of stochastic gradient descent."""
    optimizer = torch.optim.SGD(model.parameters(), lr=_RATE)
    loss = nn.BCEWithLogitsLoss()
    for start in range(0, len(rows), _BATCH):
        optimizer.zero_grad()
        loss(model(rows[start : start + _BATCH]), labels[start : start + _BATCH]).backward()
        optimizer.step()
