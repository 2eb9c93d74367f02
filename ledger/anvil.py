"""A local anvil, started for whoever needs a chain that several processes can reach."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from ledger.chain import Chain, open_chain
from ledger.errors import AnvilFailed, AnvilMissing
from ledger.evm import BLOCK_GAS, Genesis

_START_SECONDS = 20
_STOP_SECONDS = 5
_POLL_SECONDS = 0.02
_LISTENING = "Listening on "
_FIRST_BASE_FEE_WEI = 10**9


def find_anvil(environment: Mapping[str, str] = os.environ) -> Path:
    """Find the anvil binary: as named in WARDROUND_ANVIL, in PATH, or where npm put it.

    Raises:
        AnvilMissing: it is in none of these.
    """
    named = environment.get("WARDROUND_ANVIL")
    if named:
        if not os.access(named, os.X_OK):
            raise AnvilMissing((f"WARDROUND_ANVIL={named}",))
        return Path(named)
    in_path = shutil.which("anvil", path=environment.get("PATH", ""))
    if in_path is not None:
        return Path(in_path)
    modules = Path(__file__).parents[1] / "contracts" / "node_modules"
    # npm's own `anvil` is a script that needs node and starts this binary.
    for binary in sorted(modules.glob("@foundry-rs/anvil-*/bin/anvil*")):
        if os.access(binary, os.X_OK):
            return binary
    script = modules / ".bin" / "anvil"
    if os.access(script, os.X_OK):
        return script
    raise AnvilMissing(("PATH", "contracts/node_modules"))


class Anvil:
    """A running anvil on a free loopback port; stop it, or use it in a ``with``.

    Attributes:
        url: for other processes.
        chain: for this one, over a local socket, which takes half the time of HTTP.
    """

    def __init__(self, genesis: Genesis, timeout_seconds: float = 120) -> None:
        """Start it.

        Args:
            genesis: chain id, time of block 0, and who is funded.
            timeout_seconds: how long to wait for a receipt.

        Raises:
            AnvilMissing: the binary is not on this machine.
            AnvilFailed: it ends, or says nothing, instead of listening.
        """
        binary = find_anvil()
        self.genesis = genesis
        # Not in a folder of ours: the path of a local socket may have some 100 bytes only.
        self._folder = Path(tempfile.mkdtemp(prefix="wardround-anvil-"))
        (self._folder / "genesis.json").write_text(json.dumps(_genesis_file(genesis)))
        self._output = self._folder / "output.txt"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    str(binary),
                    *("--host", "127.0.0.1", "--port", "0", "--ipc", str(self._folder / "ipc")),
                    *("--init", str(self._folder / "genesis.json"), "--accounts", "0"),
                    *("--hardfork", "prague", "--order", "fifo", "--no-cors"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C goes to us alone: we stop anvil when we are done with it.
                start_new_session=True,
            )
        try:
            self.url = f"http://{self._listening()}"
            self.chain: Chain = open_chain(
                f"ipc://{self._folder / 'ipc'}", genesis.chain_id, timeout_seconds
            )
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def stop(self) -> None:
        """End the process and remove its files. Harmless the second time."""
        if hasattr(self, "chain"):
            self.chain.close()
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Anvil:
        """Give the running anvil."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    def _listening(self) -> str:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            said = self._output.read_text(errors="replace")
            for line in said.splitlines(keepends=True):
                if line.startswith(_LISTENING) and line.endswith("\n"):
                    return line.removeprefix(_LISTENING).strip()
            if self._process.poll() is not None:
                last = said.strip().splitlines()[-1:] or ["no output"]
                raise AnvilFailed(f"status {self._process.returncode}: {last[0]}")
            time.sleep(_POLL_SECONDS)
        raise AnvilFailed(f"not listening after {_START_SECONDS} s")


def _genesis_file(genesis: Genesis) -> dict[str, object]:
    return {
        "config": {"chainId": genesis.chain_id},
        "timestamp": hex(genesis.timestamp),
        "gasLimit": hex(BLOCK_GAS),
        "difficulty": "0x0",
        "baseFeePerGas": hex(_FIRST_BASE_FEE_WEI),
        "alloc": {
            address: {"balance": hex(balance)} for address, balance in genesis.balances.items()
        },
    }
