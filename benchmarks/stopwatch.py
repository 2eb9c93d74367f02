"""Where the time goes, by wrapping the functions of interest while a measurement runs.

Cheaper and less distorting than a profiler: only what is named is touched. Time is exclusive, so
the parts never count anything twice, and what is left over is shown as such.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from time import perf_counter
from typing import Any
from unittest import mock

OURS = ("wardround", "wardround_client", "wardround_coordinator", "wardround_simulations")


class Stopwatch:
    """Seconds by part, each without the parts inside it. For one thread."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.seconds: dict[str, float] = {}
        self._inside: list[float] = []

    @contextmanager
    def watching(self, parts: Mapping[str, Sequence[str]]) -> Iterator[None]:
        """Wrap functions for a block.

        Args:
            parts: by part, where each function is: ``module:function`` (wherever our packages
                have imported it) or ``module:Class.method``.
        """
        with ExitStack() as stack:
            for part, places in parts.items():
                self.seconds.setdefault(part, 0.0)
                for place in places:
                    for owner, name, function in _found(place):
                        wrapped = self._wrapped(part, function)
                        stack.enter_context(mock.patch.object(owner, name, wrapped))
            yield

    def _wrapped(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inside.append(0.0)
            started = perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                elapsed = perf_counter() - started
                self.seconds[part] += elapsed - self._inside.pop()
                if self._inside:
                    self._inside[-1] += elapsed

        return timed


def _found(place: str) -> list[tuple[Any, str, Callable[..., Any]]]:
    module_name, _, name = place.partition(":")
    module = import_module(module_name)
    if "." in name:
        class_name, _, method = name.partition(".")
        # Where the method is written, which may be a parent.
        owner = next(one for one in getattr(module, class_name).__mro__ if method in vars(one))
        return [(owner, method, vars(owner)[method])]
    function = getattr(module, name)
    holders = [
        loaded
        for loaded_name, loaded in list(sys.modules.items())
        if loaded is module or loaded_name.split(".")[0] in OURS
    ]
    return [
        (holder, key, function)
        for holder in holders
        for key, value in list(vars(holder).items())
        if value is function
    ]
