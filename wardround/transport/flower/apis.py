"""Requests to a SuperLink that pass only what its own interface needs.

A SuperLink has three interfaces on one port. Flower leads each request through ten layers, of which
half look at its path, find that it is another interface's, and hand it on: a third of the time that
a request takes, and a round takes some twelve of them a site.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from starlette.middleware import Middleware

_APIS = ("control", "fleet", "runtime")
#: Flower's layers that do nothing for another interface than this.
_ONLY_FOR = {
    "ControlSensitiveResponseMiddleware": "control",
    "ControlAuthenticationMiddleware": "control",
    "ControlLicenseMiddleware": "control",
    "ControlEventLogMiddleware": "control",
    "NodeAuthMiddleware": "fleet",
    "FleetEventLogMiddleware": "fleet",
    "RuntimeTracingMiddleware": "runtime",
}


def shorten() -> None:
    """Change this process's Flower, before its SuperLink starts."""
    main = importlib.import_module("flwr.superlink.main")
    vars(main)["_get_middleware"] = shortened(vars(main)["_get_middleware"])


def shortened(layers: Callable[[], list[Middleware]]) -> Callable[[], list[Middleware]]:
    """Lead requests around the layers that are only for another interface.

    A path that is of none of the three passes all of them.

    Args:
        layers: Flower's, the outermost first.
    """

    def made() -> list[Middleware]:
        return [_short(layer) for layer in layers()]

    return made


def _short(layer: Middleware) -> Middleware:
    only_for = _ONLY_FOR.get(getattr(layer.cls, "__name__", ""))
    if only_for is None:
        return layer
    around = tuple(f"/v1/{one}/" for one in _APIS if one != only_for)
    return Middleware(_Around, layer=layer, around=around)


class _Around:
    def __init__(self, app: Any, layer: Middleware, around: tuple[str, ...]) -> None:
        self._app, self._around = app, around
        self._layer = layer.cls(app, *layer.args, **layer.kwargs)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        passes = scope["type"] != "http" or not scope["path"].startswith(self._around)
        await (self._layer if passes else self._app)(scope, receive, send)
