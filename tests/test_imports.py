"""What programs do not import, so that they start sooner and hold less that could fail.

The guard reads rows and holds the key: what learns runs in the trainer, behind its sandbox.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "sklearn", "scipy", "opacus", "pandas")


@pytest.mark.parametrize(
    "program",
    [
        "wardround_client.app.client_app",
        "wardround_client.supernode",
        "wardround_client.guard.run",
        "wardround_coordinator.door",
        "wardround_coordinator.server_app",
    ],
)
def test_program_that_does_not_learn_brings_nothing_to_learn_with(program: str) -> None:
    code = f"import sys, {program}; print(*(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []
