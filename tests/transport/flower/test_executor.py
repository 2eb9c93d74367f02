"""What the process that forks for each task changes in Flower's own code."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from flwr.supercore.retry import make_simple_http_retry_invoker

from wardround.transport.flower.executor import unshaken, untiring


def client(answer: Exception | bool) -> Any:
    def beat(request: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(success=answer)

    return SimpleNamespace(SendTaskHeartbeat=beat)


def status(code: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "http://127.0.0.1/v1/runtime/send-task-heartbeat")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(code))


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (True, True),
        # A SuperNode that was started again knows no task of the one before.
        (False, True),
        (status(401), True),
        (status(403), True),
        (status(503), False),
        (httpx.ConnectError("refused"), False),
    ],
)
def test_training_goes_on_whatever_becomes_of_the_supernode(
    answer: Exception | bool, sent: bool
) -> None:
    """A signal would end this test too."""
    assert untiring(client(answer))() is sent


def test_token_that_is_unknown_interrupts_nothing() -> None:
    """Flower's own invoker would send this process an interrupt."""
    asked = []

    def unknown() -> None:
        asked.append(1)
        raise status(401)

    with pytest.raises(httpx.HTTPStatusError):
        unshaken(make_simple_http_retry_invoker)().invoke(unknown)
    assert len(asked) == 1


def test_node_that_is_away_is_asked_again() -> None:
    answers = iter([httpx.ConnectError("refused"), status(503), None])

    def away() -> str:
        if (answer := next(answers)) is not None:
            raise answer
        return "there"

    assert unshaken(make_simple_http_retry_invoker)().invoke(away) == "there"


def test_flower_has_what_is_changed() -> None:
    task = importlib.import_module("flwr.supernode.runtime.run_clientapp")
    for name in (
        "get_load_client_app_fn",
        "install_from_fab",
        "pull_and_inflate_object_from_tree",
        "make_task_heartbeat_fn_http",
        "make_simple_http_retry_invoker",
    ):
        assert callable(vars(task)[name])
    superexec = importlib.import_module("flwr.supercore.superexec.run_superexec")
    for name in ("get_executor", "make_simple_http_retry_invoker"):
        assert callable(vars(superexec)[name])
