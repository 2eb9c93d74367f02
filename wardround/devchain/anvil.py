"""A local anvil: a chain that several processes can reach."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from wardround.chain.chain import Chain, open_chain
from wardround.devchain.errors import AnvilMissing, anvil_failed
from wardround.devchain.evm import BLOCK_GAS, Genesis
from wardround.host.lock import take_lock

_START_SECONDS = 20
_STOP_SECONDS = 5
_POLL_SECONDS = 0.02
_FOLDER_PREFIX = "wardround-anvil-"
_LISTENING = "Listening on "
_FIRST_BASE_FEE_WEI = 10**9
#: Runs a command beside a watcher, which kills its process group when our end of its input is
#: closed, also by our death: so anvil never outlives its owner. The watcher keeps the number of the
#: group in use, so no other group can be killed.
_WATCHED = 'exec 3<&0 </dev/null; { read -r _ <&3; kill -9 0; } & exec 3<&-; exec "$@"'


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
    modules = Path(__file__).parents[2] / "contracts" / "node_modules"
    # npm's own `anvil` is a script that needs node and starts this binary.
    for binary in sorted(modules.glob("@foundry-rs/anvil-*/bin/anvil*")):
        if os.access(binary, os.X_OK):
            return binary
    script = modules / ".bin" / "anvil"
    if os.access(script, os.X_OK):
        return script
    raise AnvilMissing(("PATH", "contracts/node_modules"))


class Lease:
    """A locked file that an anvil holds as long as it lives, so that none is left behind.

    A killed process leaves its anvil running for a moment. Both hold the lock, so the next owner
    finds it held and kills the process whose number is in the file: no other can hold this lock.
    """

    def __init__(self, path: Path) -> None:
        """Take the lease, ending an anvil that outlived its owner.

        Raises:
            ChainError: its holder does not end.
        """
        self._path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + _STOP_SECONDS
        while True:
            if take_lock(self.descriptor):
                break
            self._end_holder()
            if time.monotonic() > deadline:
                self.close()
                raise anvil_failed(f"the anvil that holds {path} does not end")
            time.sleep(_POLL_SECONDS)
        if named := self._held()[1:]:
            left = Path(named[0])
            if left.name.startswith(_FOLDER_PREFIX) and left.parent == Path(tempfile.gettempdir()):
                shutil.rmtree(left, ignore_errors=True)

    def command(self, folder: Path) -> list[str]:
        """What to put before a command, so that its number is in the file before it runs."""
        words = 'echo "$$ $1" >"$0" && shift && exec "$@"'
        return ["/bin/sh", "-c", words, str(self._path), str(folder)]

    def close(self) -> None:
        """Let go; the lease stays held while its anvil lives."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _held(self) -> list[str]:
        return self._path.read_text(errors="replace").strip().split(" ", 1)

    def _end_holder(self) -> None:
        number = self._held()[0]
        if number.isdigit() and int(number) > 1:
            with suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)


class Anvil:
    """A running anvil on a free loopback port; stop it, or use it in a ``with``.

    Attributes:
        url: for other processes.
        chain: for this one, over a local socket, which takes half the time of HTTP.
    """

    def __init__(
        self, genesis: Genesis, timeout_seconds: float = 120, lease: Lease | None = None
    ) -> None:
        """Start it.

        Args:
            genesis: chain id, time of block 0, and who is funded.
            timeout_seconds: how long to wait for a receipt.
            lease: marks it as running, also after this process was killed.

        Raises:
            AnvilMissing: the binary is not on this machine.
            ChainError: it ends, or does not listen.
        """
        binary = find_anvil()
        self.genesis = genesis
        # Not in a folder of ours: the path of a local socket may have some 100 bytes only.
        self._folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX))
        (self._folder / "genesis.json").write_text(json.dumps(_genesis_file(genesis)))
        self._output = self._folder / "output.txt"
        watched, self._lifeline = os.pipe()
        with self._output.open("wb") as output, os.fdopen(watched) as lifeline:
            self._process = subprocess.Popen(
                [
                    *("/bin/sh", "-c", _WATCHED, "sh"),
                    *(() if lease is None else lease.command(self._folder)),
                    str(binary),
                    *("--host", "127.0.0.1", "--port", "0", "--ipc", str(self._folder / "ipc")),
                    *("--init", str(self._folder / "genesis.json"), "--accounts", "0"),
                    *("--hardfork", "prague", "--order", "fifo", "--no-cors"),
                ],
                stdin=lifeline,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C goes to us alone: we stop anvil when we are done with it.
                start_new_session=True,
                pass_fds=() if lease is None else (lease.descriptor,),
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
    def ended(self) -> bool:
        """Whether the process is no more."""
        return self._process.poll() is not None

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
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Anvil:
        return self

    def __exit__(self, *_: object) -> None:
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
                raise anvil_failed(f"status {self._process.returncode}: {last[0]}")
            time.sleep(_POLL_SECONDS)
        raise anvil_failed(f"not listening after {_START_SECONDS} s")


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
