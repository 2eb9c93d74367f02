"""The named steps at which a process can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wardround.host.steps import VARIABLE, Point, Step, durable, parse_point
from wardround.protocol.errors import Malformed

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
from wardround.host.steps import Step, durable
for number in range(4):
    with durable(Step.MODEL_STORED):
        print("model", number, flush=True)
    with durable(Step.MANIFEST_STORED):
        print("manifest", number, flush=True)
try:
    with durable(Step.MODEL_STORED):
        raise OSError("the disk is full")
except OSError:
    print("failed", flush=True)
"""


def run(point: str | None) -> tuple[int, list[str]]:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if point is not None:
        environment[VARIABLE] = point
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("point", "last"),
    [
        ("model_stored:before:1", None),
        ("model_stored:after:1", "model 0"),
        ("manifest_stored:before:2", "model 1"),
        ("manifest_stored:after:3", "manifest 2"),
    ],
)
def test_process_when_it_reaches_its_point_is_killed(point: str, last: str | None) -> None:
    status, lines = run(point)
    assert status == -9
    assert (lines[-1] if lines else None) == last


@pytest.mark.parametrize("point", [None, "", "taken_over:after:1", "model_stored:after:5"])
def test_process_when_it_never_reaches_a_point_lives(point: str | None) -> None:
    """The fifth model was never stored: a step that fails is not taken."""
    status, lines = run(point)
    assert (status, len(lines), lines[-1]) == (0, 9, "failed")


def test_step_without_the_variable_is_one_empty_context() -> None:
    assert durable(Step.MODEL_STORED) is durable(Step.ROUND_CLOSED)


@pytest.mark.parametrize(
    "text", ["", "model_stored", "model_stored:after", "model_stored:after:0", "x:after:1", "a:b:c"]
)
def test_point_when_malformed_is_refused_by_name(text: str) -> None:
    with pytest.raises(Malformed, match="model_stored"):
        parse_point(text)


def test_point_is_written_as_it_is_read() -> None:
    point = Point(Step.ROUND_CLOSED, "before", 7)
    assert parse_point(str(point)) == point
