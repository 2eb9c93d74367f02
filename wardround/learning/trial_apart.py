"""Try a study's model in a confined process of its own, which runs the study's own files.

The process sees no rows. Its answer is trusted no more than the files: code that means harm can
behave well in a trial, or forge the answer.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from wardround.host.sandbox.confine import Confinement, confine
from wardround.host.sandbox.sandbox import Sandbox
from wardround.host.screen import visible
from wardround.learning.errors import LearningError
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.documents import Form
from wardround.protocol.report import Hex32
from wardround.protocol.study import StudySpec, parse_specification

SECONDS_MAX = 600.0
WORDS_MAX = 600
_ANSWER_MAX_BYTES = 1 << 16
_STATEMENT = "from wardround.learning.trial_apart import main; main()"


class _TrialAsked(Form):
    """The question, on standard input."""

    #: None: there is no sandbox.
    program: Confinement | None
    child: Confinement | None
    specification: str
    files: dict[str, str]


class TrialReport(Form):
    """What the trial found.

    Attributes:
        root: vector root of ``M_0``, as it is built here.
        layout: digest of its parameters' names and shapes.
        parameters: P.
    """

    root: Hex32
    layout: Hex32
    parameters: Annotated[int, Field(ge=1)]


class _TrialFailed(Form):
    failed: Annotated[str, Field(max_length=WORDS_MAX)]


_ANSWER: TypeAdapter[TrialReport | _TrialFailed] = TypeAdapter(TrialReport | _TrialFailed)


def try_apart(spec: StudySpec, sandbox: Sandbox, seconds: float = SECONDS_MAX) -> TrialReport:
    """Try a study's model behind walls.

    Args:
        spec: with the study's own files.
        sandbox: around the process.
        seconds: how long it may take.
    Raises:
        LearningError: the model cannot be federated, or its trial ends otherwise; in the words of
            the process, printable and in one line.
    """
    asked = _TrialAsked(
        program=sandbox.program(),
        child=sandbox.child(),
        specification=canonical_bytes(spec.document()).decode(),
        files={name: data.decode() for name, data in spec.files.items()},
    )
    process = subprocess.Popen(
        sandbox.command(_STATEMENT),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=sandbox.environment(),
    )
    deadline = threading.Timer(seconds, process.kill)
    deadline.start()
    try:
        said = _exchanged(process, asked.model_dump_json().encode())
        status = process.wait()
    finally:
        deadline.cancel()
        process.kill()
    last = (said.decode("utf-8", "replace").splitlines() or ["nothing"])[-1]
    try:
        answer = _ANSWER.validate_json(last)
    except ValidationError:
        words = f"its process ended with status {status}, within {seconds:g} s, and said: {last}"
        answer = _TrialFailed(failed=words[:WORDS_MAX])
    if isinstance(answer, _TrialFailed):
        raise LearningError(f"the trial of the study's model failed: {visible(answer.failed)}")
    return answer


def _exchanged(process: subprocess.Popen[bytes], question: bytes) -> bytes:
    """Ask, and read no more than an answer may have."""
    assert process.stdin is not None  # asked for above
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            process.stdin.write(question)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended before: its output has the reason
        said = process.stdout.read(_ANSWER_MAX_BYTES)
    if len(said) == _ANSWER_MAX_BYTES:
        process.kill()
    return said


def main() -> None:
    """Answer one question: the process behind the walls."""
    asked = _TrialAsked.model_validate_json(sys.stdin.buffer.read())
    # What the study's own files print goes nowhere.
    answer, nothing = os.dup(1), os.open(os.devnull, os.O_RDWR)
    if asked.program is not None:
        confine(asked.program)
    from wardround.learning.trial import try_model
    from wardround.protocol.identifiers import hex_of
    from wardround.protocol.merkle import vector_root
    from wardround.protocol.model import layout_digest

    for standard in range(3):
        os.dup2(nothing, standard)
    if asked.child is not None:
        confine(asked.child)
    found: TrialReport | _TrialFailed
    try:
        spec = parse_specification(asked.specification.encode())
        files = {name: text.encode() for name, text in asked.files.items()}
        _, initial = try_model(spec.with_files(files))
        found = TrialReport(
            root=hex_of(vector_root(initial.values.data)),
            layout=hex_of(layout_digest(initial.layout)),
            parameters=initial.values.size,
        )
    except BaseException as error:  # noqa: BLE001  (an entry point, of code that may raise anything)
        name = "" if isinstance(error, LearningError) else f"{type(error).__name__}: "
        found = _TrialFailed(failed=f"{name}{error}"[:WORDS_MAX])
    os.write(answer, found.model_dump_json().encode() + b"\n")
