"""A study's own network: ``package.module:factory``.

Importing it runs its code. A site does so only after it has checked the digest of the
application code against the one it approved.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

from torch import nn

from wardround.learning.errors import no_factory


def find_factory(name: str) -> Callable[..., object]:
    """Import the callable that ``package.module:factory`` names.

    Raises:
        LearningError: cannot be imported, has no such name, or is no callable.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise no_factory(name, "not of the form package.module:factory")
    try:
        found: object = importlib.import_module(module_name)
    except Exception as exc:  # importing runs foreign code, which may raise anything
        raise no_factory(name, f"import failed with {_describe(exc)}") from exc
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise no_factory(name, f"{module_name} has no {attribute}")
        found = getattr(found, part)
    if not callable(found):
        raise no_factory(name, f"{attribute} is not callable")
    return found


def call_factory(name: str, arguments: Mapping[str, object]) -> nn.Module:
    """Build the network.

    Raises:
        LearningError: the call raises, or returns something other than a network.
    """
    factory = find_factory(name)
    try:
        model = factory(**arguments)
    except Exception as exc:  # foreign code again
        raise no_factory(name, f"the call failed with {_describe(exc)}") from exc
    if not isinstance(model, nn.Module):
        raise no_factory(name, f"it returned {type(model).__name__}")
    return model


def _describe(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
