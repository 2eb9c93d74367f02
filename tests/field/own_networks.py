"""Networks of a study's own, each with its factory: a study names this file, see `test_models`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

FEATURES = 6

# ---------------------------------------------------------------- layout

#: Another process may register the parts in another order, such as that of a set.
NAMES = os.environ.get("PARTS", "alpha beta gamma").split()


class Assembled(nn.Module):
    """Its parts are registered in whatever order `NAMES` has in this process."""

    def __init__(self) -> None:
        super().__init__()
        for name in NAMES:
            self.register_module(name, nn.Linear(FEATURES, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        parts = [self.get_submodule(name)(features) for name in sorted(NAMES)]
        return sum(weight * part for weight, part in enumerate(parts, 1))


def assembled() -> nn.Module:
    return Assembled()


# ---------------------------------------------------------------- state beside the parameters


class Normalised(nn.Module):
    """Running statistics in buffers that are not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, 1)
        self.register_buffer("mean", torch.zeros(FEATURES), persistent=False)
        self.register_buffer("variance", torch.ones(FEATURES), persistent=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        normal = nn.functional.batch_norm(
            features, self.mean, self.variance, training=self.training, momentum=0.1
        )
        return self.layer(normal)


class Remembering(nn.Module):
    """A running mean in a plain attribute; `keep` selects its kind."""

    def __init__(self, keep: Callable[[torch.Tensor], Any], read: Callable[[Any], Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, 1)
        self.keep, self.read = keep, read
        self.mean = keep(torch.zeros(FEATURES))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if self.training:
            new = features.detach().mean(dim=0)
            self.mean = self.keep(0.9 * torch.as_tensor(self.read(self.mean)) + 0.1 * new)
        return self.layer(features - torch.as_tensor(self.read(self.mean)))


def normalised() -> nn.Module:
    return Normalised()


def remembering_tensor() -> nn.Module:
    return Remembering(lambda mean: mean, lambda kept: kept)


def remembering_list() -> nn.Module:
    return Remembering(lambda mean: [mean], lambda kept: kept[0])


def remembering_number() -> nn.Module:
    return Remembering(lambda mean: float(mean.mean()), lambda kept: kept)


class Masked(nn.Module):
    """A constant beside the parameters, in a buffer and in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, 1)
        self.register_buffer("mask", torch.ones(FEATURES), persistent=False)
        self.shift = torch.zeros(FEATURES)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layer(features * self.mask + self.shift)


def masked() -> nn.Module:
    return Masked()


def partly_frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(FEATURES, 4), nn.ReLU(), nn.Linear(4, 1))
    model[0].requires_grad_(requires_grad=False)
    return model


# ---------------------------------------------------------------- outputs


def frozen() -> nn.Module:
    return partly_frozen().requires_grad_(requires_grad=False)


def frozen_alone() -> nn.Module:
    return nn.Linear(FEATURES, 1).requires_grad_(requires_grad=False)


class Answering(nn.Module):
    """Its output has another form, always or in training alone."""

    def __init__(self, form: Callable[[torch.Tensor], Any], *, always: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, 1)
        self.form, self.always = form, always

    def forward(self, features: torch.Tensor) -> Any:
        logits = self.layer(features)
        return self.form(logits) if self.training or self.always else logits


def with_auxiliary() -> nn.Module:
    return Answering(lambda logits: (logits, logits))


def in_a_table() -> nn.Module:
    return Answering(lambda logits: {"logits": logits}, always=True)


def in_a_table_in_training() -> nn.Module:
    return Answering(lambda logits: {"logits": logits})


def summed_in_training() -> nn.Module:
    return Answering(lambda logits: logits.sum())


class Halved(nn.Module):
    """Parameters in float32, logits in a shorter type."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, 1)
        self.dtype = dtype

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=self.dtype):
            return self.layer(features)


def bfloat16() -> nn.Module:
    return Halved(torch.bfloat16)


def float16() -> nn.Module:
    return Halved(torch.float16)


def batch_norm() -> nn.Module:
    return nn.Sequential(
        nn.Linear(FEATURES, 8),
        nn.BatchNorm1d(8, track_running_stats=False),
        nn.ReLU(),
        nn.Linear(8, 1),
    )


def batch_norm_of_pictures() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (FEATURES, 1, 1)),
        nn.BatchNorm2d(FEATURES, track_running_stats=False),
        nn.Flatten(),
        nn.Linear(FEATURES, 1),
    )


# ---------------------------------------------------------------- layers without row gradients


class Recurrent(nn.Module):
    """A row is a sequence of numbers."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cells = kind(1, 4, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.head(self.cells(features.unsqueeze(-1))[0][:, -1])


class Attentive(nn.Module):
    """Attention between the numbers of a row."""

    def __init__(self, *, whole: bool) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(1, 8), nn.Linear(8, 1)
        layer = nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, batch_first=True)
        self.attend = (
            nn.TransformerEncoder(layer, 1)
            if whole
            else nn.MultiheadAttention(8, 2, batch_first=True)
        )
        self.whole = whole

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        sequence = self.embed(features.unsqueeze(-1))
        found = self.attend(sequence) if self.whole else self.attend(*[sequence] * 3)[0]
        return self.head(found.mean(dim=1))


def lstm() -> nn.Module:
    return Recurrent(nn.LSTM)


def gru() -> nn.Module:
    return Recurrent(nn.GRU)


def transformer() -> nn.Module:
    return Attentive(whole=True)


def attention() -> nn.Module:
    return Attentive(whole=False)
