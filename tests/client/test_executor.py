"""What the process that forks for each task changes in Flower's own code."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from client.executor import untiring


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


def test_flower_has_what_is_changed() -> None:
    task = importlib.import_module("flwr.supernode.runtime.run_clientapp")
    assert callable(vars(task)["make_task_heartbeat_fn_http"])
    superexec = importlib.import_module("flwr.supercore.superexec.run_superexec")
    for name in ("get_executor", "make_simple_http_retry_invoker"):
        assert callable(vars(superexec)[name])
