"""Which of Flower's layers a request passes: all that its own interface needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from flwr.superlink import main
from starlette.middleware import Middleware

from wardround.transport.flower.apis import _ONLY_FOR, shortened

ALWAYS = ["BaseHTTPMiddleware", "ProtobufTranslationMiddleware"]


def layer_named(name: str, passed: list[str]) -> type:
    """A layer of that name, which notes each request."""

    class Noting:
        def __init__(self, app: Callable[..., Any], **_: object) -> None:
            self._app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            passed.append(name)
            await self._app(scope, receive, send)

    Noting.__name__ = name
    return Noting


def passed_by(scope: dict[str, str]) -> list[str]:
    """The layers that a request passes, of those that Flower has."""
    passed: list[str] = []
    names = [layer.cls.__name__ for layer in main._get_middleware()]  # type: ignore[attr-defined]
    layers = shortened(lambda: [Middleware(layer_named(name, passed)) for name in names])()

    async def app(*_: Any) -> None:
        return None

    whole: Any = app
    for layer in reversed(layers):
        whole = layer.cls(whole, *layer.args, **layer.kwargs)
    asyncio.run(whole(scope, None, None))
    return passed


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/v1/control/start-run", "control"),
        ("/v1/fleet/push-object", "fleet"),
        ("/v1/runtime/pull-object", "runtime"),
    ],
)
def test_request_when_it_is_of_one_interface_passes_its_layers_and_no_others(
    path: str, own: str
) -> None:
    passed = passed_by({"type": "http", "path": path})
    assert set(passed) == {*ALWAYS, *(name for name, api in _ONLY_FOR.items() if api == own)}


@pytest.mark.parametrize("path", ["/health", "/v1/fleets/x", "/v1/fleet", "/x/v1/fleet/y", ""])
def test_request_when_it_is_of_no_interface_passes_all_layers(path: str) -> None:
    passed = passed_by({"type": "http", "path": path})
    assert set(passed) == {*ALWAYS, *_ONLY_FOR}
    assert set(passed_by({"type": "lifespan"})) == set(passed)
