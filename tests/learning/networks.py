"""Networks that come with wardround, by name; and networks of a study's own, by their source."""

from __future__ import annotations

from typing import Any

from torch import nn

from wardround.learning.models import build_model
from wardround.protocol.model import NO_FILES, ModelSpec, StudyFiles, file_digests


def named_model(name: str, arguments: dict[str, Any], seed: int = 0) -> nn.Module:
    """Build a network that comes with wardround."""
    return build_model(ModelSpec(name=name, arguments=arguments), NO_FILES, seed)


def own_model(source: str | StudyFiles, **keys: Any) -> tuple[ModelSpec, StudyFiles]:
    """Specify a network of a study's own, `model.py: build` where nothing else is said."""
    files = {"model.py": source.encode()} if isinstance(source, str) else source
    value = {"file": "model.py", "factory": "build", "row_shape": [6], "classes": 2, **keys}
    return ModelSpec(files=file_digests(files), **value), files
