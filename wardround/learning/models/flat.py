"""A network's parameters as one flat vector, in the order of its layout, and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from wardround.learning.errors import LearningError, unsuitable
from wardround.protocol.errors import shape_mismatch
from wardround.protocol.fixed_point import Float32Vector
from wardround.protocol.layout import Layout


def check_model(name: str, model: nn.Module) -> None:
    """Refuse a network whose whole state is not float32 parameters on the CPU.

    Raises:
        LearningError: it keeps state that no update would carry; no parameters, lazy ones, or of
            another dtype or device.
    """
    # Buffers that are not saved hold constants, such as a causal mask, and need no update.
    own = {key for key, _ in model.named_parameters(remove_duplicate=False)}
    buffers = [key for key in model.state_dict() if key not in own]
    if buffers:
        raise LearningError(
            f"model {name} keeps state beside its parameters ({', '.join(buffers)}), which no "
            "update would carry: use group or layer norm in place of batch norm."
        )
    parameters = list(model.named_parameters())
    if not parameters:
        raise unsuitable(name, "it has no parameters")
    for key, parameter in parameters:
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise unsuitable(name, f"the shape of {key} is not fixed yet")
        if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
            raise unsuitable(name, f"{key} is {parameter.dtype} on {parameter.device}")
        if parameter.numel() == 0:
            raise unsuitable(name, f"{key} is empty")


def layout_of(model: nn.Module) -> Layout:
    """Names and shapes in vector order; a shared parameter is listed once."""
    parameters = list(model.named_parameters())
    return Layout(
        names=tuple(name for name, _ in parameters),
        shapes=tuple(tuple(parameter.shape) for _, parameter in parameters),
    )


def flatten(model: nn.Module) -> Float32Vector:
    """Copy the parameters into one new vector.

    Returns:
        float32, shape (P,), the caller's own.
    """
    parameters = [parameter.detach().reshape(-1) for parameter in model.parameters()]
    vector: Float32Vector = torch.cat(parameters).numpy()
    return vector


def load_flat(model: nn.Module, vector: Float32Vector) -> torch.Tensor:
    """Copy a vector once and make the parameters views of that copy.

    Training then changes the copy in place, so that its result needs no gathering. Vectors that
    were loaded or returned before stay as they are.

    Args:
        model: the network.
        vector: float32, shape (P,); may be read-only.
    Returns:
        float32 tensor, shape (P,), that the parameters now view.
    Raises:
        ProtocolError: another length.
        LearningError: another dtype.
        LearningError: NaN or infinity, with its place.
    """
    parameters = list(model.parameters())
    count = sum(parameter.numel() for parameter in parameters)
    if vector.shape != (count,):
        raise shape_mismatch("weights", count, vector.size)
    if vector.dtype != np.float32:
        raise unsuitable(type(model).__name__, f"weights are {vector.dtype}")
    # Torch allocates on 64-byte borders, numpy on 16; kernels may sum in another order off them.
    flat = torch.empty(count)
    np.copyto(flat.numpy(), vector)
    if not is_finite(flat):
        index = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise LearningError(
            f"weight {index} is {float(vector[index])!r}: start from finite weights."
        )
    start = 0
    for parameter in parameters:
        end = start + parameter.numel()
        parameter.data = flat[start:end].view(parameter.shape)
        parameter.grad = None
        start = end
    return flat


def is_finite(flat: torch.Tensor) -> bool:
    """Tell whether every element is a finite number, without a mask as long as the model."""
    low, high = torch.aminmax(flat)
    return bool(torch.isfinite(low)) and bool(torch.isfinite(high))
