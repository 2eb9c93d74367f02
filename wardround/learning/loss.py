"""The loss that fits a network's output: one logit for two classes, else one a class."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from wardround.learning.errors import unsuitable


def count_classes(model: nn.Module, row: torch.Tensor) -> int:
    """Ask the network for one row's logits to learn how many classes it tells apart.

    Args:
        model: the network; left in evaluation mode.
        row: float32, shape (1, ...).
    Raises:
        LearningError: it does not take such rows, or the output is neither one logit nor one
            a class.
    """
    model.eval()
    name = type(model).__name__
    try:
        with torch.no_grad():
            logits = model(row)
    except (RuntimeError, ValueError, TypeError, IndexError) as exc:
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise unsuitable(name, f"features {tuple(row.shape[1:])}: {reason}") from exc
    if not isinstance(logits, torch.Tensor) or logits.shape[:1] != (1,) or logits.ndim > 2:
        raise unsuitable(name, f"one row gives {getattr(logits, 'shape', type(logits))}")
    return max(2, logits.numel())


def classification_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy in nats.

    Args:
        logits: float32, shape (n, classes), or (n, 1) or (n,) for two classes.
        labels: int64, shape (n,), in range.
    """
    if logits.numel() == labels.numel():
        return functional.binary_cross_entropy_with_logits(
            logits.reshape(-1), labels.to(logits.dtype)
        )
    return functional.cross_entropy(logits, labels)
