"""JSON from outside that is nested deeper than C's stack must not end a process."""

import subprocess
import sys

import pytest

from wardround.protocol import RECURSION_MAX

#: What brings eth-account or py-evm, each in a process of its own; the last before any of ours.
_FIRST = (
    "wardround_client.home",
    "wardround_client.keystore",
    "wardround.devchain.evm",
    "wardround.transport.enrolment",
    "eth_account",
)

_SCRIPT = f"""
import importlib, json, sys
importlib.import_module(sys.argv[1])
if sys.argv[1] == "eth_account":
    import wardround.protocol
for opening in ("[", '{{"a":'):
    try:
        json.loads(opening * 1_000_000)
    except RecursionError:
        print("refused")
assert sys.getrecursionlimit() <= {RECURSION_MAX}
"""


@pytest.mark.parametrize("module", _FIRST)
def test_nested_json_is_refused_whatever_libraries_allow(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, module], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["refused", "refused"]
