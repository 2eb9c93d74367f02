"""Models as safetensors files, which other tools read without running any code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from wardround.host.durable import replacing
from wardround.protocol.errors import shape_mismatch
from wardround.protocol.fixed_point import Float32Vector
from wardround.protocol.layout import Layout


def export_model(
    weights: Float32Vector, layout: Layout, path: Path, metadata: Mapping[str, str]
) -> None:
    """Write a model with the names and shapes of its layout; readers see all of it or none.

    Equal arguments give equal bytes.

    Args:
        weights: float32, shape (P,).
        layout: of the study.
        path: file to write, ``.safetensors`` by custom; its folder exists.
        metadata: for instance study, round and model root.
    Raises:
        ProtocolError: ``weights`` do not fill the layout.
    """
    if weights.shape != (layout.parameter_count,):
        raise shape_mismatch("weights", layout.parameter_count, weights.size)
    ends = np.cumsum(layout.sizes)
    tensors = {
        name: weights[end - size : end].reshape(shape)
        for name, shape, size, end in zip(
            layout.names, layout.shapes, layout.sizes, ends, strict=True
        )
    }
    data = memoryview(save(tensors, metadata=dict(metadata)))
    header = _sorted_header(data)
    with replacing(path) as file:
        file.write(header)
        file.write(data[len(header) :])


def _sorted_header(data: memoryview) -> bytes:
    """Sort the metadata, which the library writes in another order each time.

    Source:
        safetensors format: length of the header (8 bytes, little-endian), JSON, padding spaces.
    """
    length = int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8 : 8 + length]))
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
    # A longer header would move the tensors, for instance with other escapes.
    assert len(text) == length, "safetensors and json write this metadata differently"
    return bytes(data[:8]) + text
