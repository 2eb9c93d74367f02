"""Training of a two-class logistic model, replayed as a function of the rows that are wanted.

What a site adds to a model in a round is known; its rows are not. With the rows of each step named
by their place in the table, each coordinate of each update is one equation for the table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from wardround.protocol.study import TrainingSpec

Floats = npt.NDArray[np.float64]
#: The rows of each step of one round, by their place in the table.
Order = Sequence[Sequence[int]]


def steps_of(training: TrainingSpec, rows: int) -> int:
    """Count the optimiser steps of one round."""
    size = training.batch_size or rows
    return training.local_steps or (training.local_epochs or 0) * math.ceil(rows / size)


@dataclass(frozen=True, eq=False)
class LogisticReplay:
    """What all rounds add to the model, as a function of the rows.

    A table is float64 of shape (n, d + 1): features, and the label last, which may be any number
    while it is being solved for. All rounds are replayed at once.

    Attributes:
        training: plain gradient descent, with or without momentum and weight decay.
        bases: models that the rounds start from, float64, shape (R, d + 1), bias last.
        orders: one a round, all with the same number of steps.
        rows: n.
    """

    training: TrainingSpec
    bases: Floats
    orders: Sequence[Order]
    rows: int

    @cached_property
    def _batches(self) -> tuple[npt.NDArray[np.int64], Floats]:
        """Places and shares of the rows of each step, (S, R, B); a short batch has shares of 0."""
        steps, widest = len(self.orders[0]), max(map(len, self.orders[0]))
        places = np.zeros((steps, len(self.orders), widest), np.int64)
        shares = np.zeros(places.shape)
        for number, order in enumerate(self.orders):
            for step, rows in enumerate(order):
                places[step, number, : len(rows)] = rows
                shares[step, number, : len(rows)] = 1 / len(rows)
        return places, shares

    @cached_property
    def shares(self) -> Floats:
        """How much of a round's steps each row has, (R, n)."""
        places, shares = self._batches
        total = np.zeros((len(self.orders), self.rows))
        rounds = np.broadcast_to(np.arange(len(self.orders))[:, None], places.shape[1:])
        for step in range(len(places)):
            np.add.at(total, (rounds, places[step]), shares[step])
        return total

    def changes(self, table: Floats) -> Floats:
        """What the rounds take from their models, divided by the learning rate: (R, d + 1)."""
        return self._descend(table)[0]

    def slopes(self, table: Floats) -> tuple[Floats, Floats]:
        """The changes and their derivatives by every number of the table.

        Returns:
            Changes, (R, d + 1), and derivatives, (R * (d + 1), n * (d + 1)).
        """
        changes, past = self._descend(table)
        inputs = _with_bias(table)
        rounds, width = self.bases.shape
        rate, decay = self.training.learning_rate, self.training.weight_decay
        slopes = np.zeros((rounds, width, self.rows, width))
        every = np.arange(rounds)
        # Adjoints of model and momentum: by how much an output moves with them.
        of_model = np.broadcast_to(-np.eye(width) / rate, (rounds, width, width)).copy()
        of_pace = np.zeros_like(of_model)
        places, shares = self._batches
        for step in range(len(places) - 1, -1, -1):
            model, chance, pull = past[step]
            batch = inputs[places[step]]
            of_pace = of_pace - rate * of_model
            along = np.einsum("row,rbw->rob", of_pace, batch)
            bend = shares[step] * chance * (1 - chance)
            for place in range(batch.shape[1]):
                row = places[step][:, place]
                moved = (along[:, :, place] * bend[:, None, place])[:, :, None] * model[:, None, :]
                moved += pull[:, None, place, None] * of_pace
                moved[:, :, -1] = -along[:, :, place] * shares[step][:, None, place]
                slopes[every, :, row] += moved
            of_model = of_model + np.einsum("rob,rb,rbw->row", along, bend, batch)
            of_model = of_model + decay * of_pace
            of_pace = self.training.momentum * of_pace
        return changes, slopes.reshape(rounds * width, self.rows * width)

    def _descend(self, table: Floats) -> tuple[Floats, list[tuple[Floats, Floats, Floats]]]:
        """The changes; and of each step the model, the predicted chances and the rows' pulls."""
        inputs = _with_bias(table)
        model, pace, past = self.bases, np.zeros_like(self.bases), []
        places, shares = self._batches
        for rows, share in zip(places, shares, strict=True):
            batch = inputs[rows]
            chance = sigmoid(np.einsum("rbw,rw->rb", batch, model))
            pull = (chance - table[rows, -1]) * share
            past.append((model, chance, pull))
            pace = self.training.momentum * pace + self.training.weight_decay * model
            pace = pace + np.einsum("rb,rbw->rw", pull, batch)
            model = model - self.training.learning_rate * pace
        return (self.bases - model) / self.training.learning_rate, past


def _with_bias(table: Floats) -> Floats:
    inputs = table.copy()
    inputs[:, -1] = 1
    return inputs


def sigmoid(values: Floats) -> Floats:
    """The chance of label 1 at a score."""
    return 0.5 * (1 + np.tanh(values / 2))
