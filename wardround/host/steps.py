"""The durable steps of a round, by name, so that a process can be killed just before or after one.

A crash matters only where something becomes durable: between two such steps a process has nothing
to lose. Each step is named here and marked once in the code. ``WARDROUND_KILL_AT`` makes the
process kill itself, as ``kill -9`` does, at one of these points; without it a mark costs nothing.

    WARDROUND_KILL_AT=manifest_stored:after:3    just after the third manifest was stored
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from wardround.protocol.errors import Malformed

VARIABLE = "WARDROUND_KILL_AT"
_POINT = re.compile(r"([a-z_]+):(before|after):([1-9][0-9]{0,5})")

Edge = Literal["before", "after"]


class Step(StrEnum):
    """What becomes durable in a round, in the order of a round."""

    UPDATE_TRAINED = "update_trained"
    """Guard: its trainer has answered. Nothing of it is on disk."""
    SIGNATURE_LOGGED = "signature_logged"
    """Guard: what it signed is in its log."""
    ANSWER_KEPT = "answer_kept"
    """Guard: the site's answer is on its disk, to be given again."""
    UPDATE_STORED = "update_stored"
    REPORT_STORED = "report_stored"
    MODEL_STORED = "model_stored"
    MANIFEST_STORED = "manifest_stored"
    TRANSACTION_SENT = "transaction_sent"
    """Any transaction: the node has taken it."""
    RECEIPT_SEEN = "receipt_seen"
    """Any transaction: it is mined."""
    ROUND_CLOSED = "round_closed"
    """Coordinator: the chain has its record."""
    MODEL_MEASURED = "model_measured"
    """Coordinator: the sites have measured the new model."""
    ROUND_NOTED = "round_noted"
    """Coordinator: a line in its rounds file."""
    TAKEN_OVER = "taken_over"
    """Standby: the chain names it as the active coordinator."""


@dataclass(frozen=True)
class Point:
    """One moment: just before or after the nth time that a process takes a step."""

    step: Step
    edge: Edge
    nth: int = 1

    def __str__(self) -> str:
        """Write it as the variable's value."""
        return f"{self.step}:{self.edge}:{self.nth}"


def parse_point(text: str) -> Point:
    """Read a point.

    Raises:
        Malformed: not ``STEP:before:N`` or ``STEP:after:N`` of a step that exists.
    """
    found = _POINT.fullmatch(text)
    if found is None or found[1] not in set(Step):
        names = ", ".join(Step)
        raise Malformed(VARIABLE, f"{text!r} is not STEP:before|after:N with STEP one of {names}")
    return Point(Step(found[1]), "before" if found[2] == "before" else "after", int(found[3]))


@contextmanager
def _watched(step: Step) -> Iterator[None]:
    """A step in a process that is to die at one of them."""
    _reached(step, "before")
    yield
    _reached(step, "after")


_plan = parse_point(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None
_seen = 0
_unwatched = nullcontext()


def durable(step: Step) -> AbstractContextManager[None]:
    """Mark a block after which something is durable.

    Args:
        step: which one.
    Returns:
        A context; one that does nothing unless this process is to be killed at this step.
    """
    return _unwatched if _plan is None or _plan.step != step else _watched(step)


def arm(point: Point | None) -> None:
    """Let this process die at a point, or at none; for processes that do not read the variable."""
    global _plan, _seen
    _plan, _seen = point, 0


def _reached(step: Step, edge: Edge) -> None:
    global _seen
    assert _plan is not None
    if edge != _plan.edge:
        return
    _seen += 1
    if _seen == _plan.nth:
        # Not sys.exit: nothing may be tidied up, as when the power fails.
        os.kill(os.getpid(), signal.SIGKILL)
