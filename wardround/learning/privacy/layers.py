"""Layers that give no gradient for each row, and what to use in their place."""

from __future__ import annotations

from torch import nn

from wardround.learning.errors import LearningError

#: Of `opacus.layers`, which compute the same.
_IN_PLACE_OF: dict[type[nn.Module], str] = {
    nn.LSTM: "DPLSTM",
    nn.GRU: "DPGRU",
    nn.RNN: "DPRNN",
    nn.MultiheadAttention: "DPMultiheadAttention",
}


def check_layers(model: nn.Module) -> None:
    """Refuse a network with a layer that hides the gradients of single rows.

    Raises:
        LearningError: names the layer, and the one of Opacus to use in its place.
    """
    for name, layer in model.named_modules():
        for kind, better in _IN_PLACE_OF.items():
            if isinstance(layer, kind):
                raise LearningError(
                    f"layer {name or 'of the model'} is {kind.__name__}, which gives no gradient "
                    f"for each row: use opacus.layers.{better} in its place for private training."
                )
