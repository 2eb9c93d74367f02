"""An anvil that may be killed at any moment, and its owner too: what was answered is not lost.

anvil keeps its chain in memory. Here every request goes through a front of ours, one at a time,
and before an answer leaves, each block that anvil has mined is in a journal on disk. When anvil
ends, a fresh one is given the same transactions with the same timestamps, and each block's hash
must come out equal; then the request that was under way is made again. Since its effect was not
in the journal, it has none in the fresh anvil: it happens once. When everything is killed, the
next `DurableAnvil` of the folder does the same.

What is not kept: transactions that wait in the pool (a sender asks for the receipt and sends
again), and snapshots.

Deliberately simple: one request at a time. A development chain has a few dozen callers, and
anvil answers in tens of microseconds.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from wardround.chain.chain import Chain, open_chain
from wardround.chain.errors import ChainUnreachable, RpcRefused
from wardround.devchain.anvil import Anvil, Lease
from wardround.devchain.errors import JournalAltered
from wardround.devchain.evm import Genesis
from wardround.devchain.journal import Journal, read_journal
from wardround.devchain.rpc_front import RpcError, RpcFront
from wardround.host.backoff import pauses
from wardround.host.durable import write_durably
from wardround.protocol.errors import WardroundError
from wardround.protocol.identifiers import hex_of

JOURNAL_FILE = "chain.jsonl"
LEASE_FILE = "anvil.lock"
CLOCK_FILE = "clock"

_POLL_SECONDS = 0.02
_MINE_SECONDS = 5.0
_AGAIN_SECONDS = 1.0
_TRIES = 3
_METHOD_REFUSED = -32601
_UNAVAILABLE = -32000

#: Of anvil's own methods, those whose effect is in the blocks, in the clock, or nowhere.
_REPEATABLE = frozenset(
    f"{prefix}_{name}"
    for prefix in ("anvil", "evm")
    for name in (
        *("mine", "increaseTime", "setTime", "setNextBlockTimestamp", "setAutomine"),
        *("getAutomine", "snapshot", "revert", "reorg", "rollback", "nodeInfo", "metadata"),
        *(
            "setNextBlockBaseFeePerGas",
            "dropTransaction",
            "dropAllTransactions",
            "removePoolTransactions",
        ),
    )
)


class DurableAnvil:
    """A development chain at one address, whatever is killed; stop it, or use it in a ``with``.

    Attributes:
        url: for every process; the same after a restart.
        chain: for this one, through the same front.
        journal_path: for `wardround.devchain.journal.replay_journal`.
        restarts: how often anvil was restarted.
    """

    def __init__(self, folder: Path, genesis: Genesis | None = None, *, port: int = 0) -> None:
        """Start the chain of a folder, or go on with it.

        Args:
            folder: keeps the journal; made when it is new.
            genesis: what a new chain starts from; a chain that is there has its own.
            port: where to listen on loopback; 0 for a free one. Name the one of `url` to keep the
                address after a restart.

        Raises:
            FileNotFoundError: there is no chain yet, and no genesis.
            JournalAltered: the journal was changed, or a block does not come out as it was.
            ChainError: another process runs this chain; or as `Anvil`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._failure: WardroundError | None = None
        self._anvil: Anvil | None = None
        self.restarts = 0
        self.journal_path = folder / JOURNAL_FILE
        self._journal = self._opened(genesis)
        self.genesis = self._journal.genesis
        try:
            self._lease = Lease(folder / LEASE_FILE)
            self._offset_seconds = self._read_offset()
            self._start()
            self._front = RpcFront(self.answer, port)
        except BaseException:
            self._end()
            raise
        self.url = self._front.url
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._supervisor.start()
        self.chain: Chain = open_chain(self.url, self.genesis.chain_id)

    @property
    def pid(self) -> int:
        """The anvil process of the moment."""
        with self._lock:
            assert self._anvil is not None
            return self._anvil.pid

    def restart(self) -> None:
        """Kill anvil and bring its chain back from the journal."""
        with self._lock:
            self._revive()

    def answer(self, method: str, parameters: list[Any]) -> Any:
        """Answer one request; each block that it shows is on disk.

        Raises:
            RpcError: anvil's own refusal, or ours of what could not be repeated.
        """
        if not _repeatable(method):
            raise RpcError(_METHOD_REFUSED, f"{method} cannot be repeated from a journal")
        with self._lock:
            for _ in range(_TRIES):
                if self._failure is not None:
                    raise RpcError(_UNAVAILABLE, str(self._failure))
                assert self._anvil is not None
                try:
                    return self._answered(self._anvil.chain, method, parameters)
                except (ChainUnreachable, OSError):
                    # Gone or hanging: nothing of this request is in the journal.
                    self._revive()
            raise RpcError(_UNAVAILABLE, f"anvil ended {_TRIES} times over {method}")

    def stop(self) -> None:
        """End anvil and listen no more; the journal stays. Harmless the second time."""
        self._stopping.set()
        self.chain.close()
        self._front.stop()
        self._supervisor.join()
        self._end()

    def __enter__(self) -> DurableAnvil:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ---------------------------------------------------------------- keeping

    def _answered(self, chain: Chain, method: str, parameters: list[Any]) -> Any:
        # Once, unlike `Rpc`, whose repetitions may mine twice: `_revive` comes in between.
        found: Any = chain.rpc.provider.make_request(method, parameters)  # type: ignore[arg-type]
        if method.startswith("eth_sendRaw"):
            self._wait_for_block(chain)
        self._keep(chain)
        if "error" in found:
            error = found["error"]
            raise RpcError(error.get("code", 0), error.get("message", ""), error.get("data"))
        self._note_time(method, parameters)
        return found["result"]

    def _wait_for_block(self, chain: Chain) -> None:
        # anvil answers before it mines; what it answered must be on disk.
        deadline = time.monotonic() + _MINE_SECONDS
        pause = pauses(0.0002, _POLL_SECONDS)
        while chain.rpc("anvil_getAutomine") and int(chain.rpc("txpool_status")["pending"], 16):
            if time.monotonic() > deadline:
                break
            time.sleep(next(pause))

    def _keep(self, chain: Chain) -> None:
        head = chain.block()
        if head.block_hash == self._hashes[-1]:
            return
        last = len(self._hashes) - 1
        while last > head.number or chain.block(last).block_hash != self._hashes[last]:
            last -= 1
        if last < len(self._hashes) - 1:
            self._journal.rewind(last)
            del self._hashes[last + 1 :]
        self._journal.catch_up(chain)
        for number in range(last + 1, head.number + 1):
            self._hashes.append(chain.block(number).block_hash)
        ahead_seconds = head.timestamp - time.time()
        if ahead_seconds > self._offset_seconds + 1:
            self._set_offset(ahead_seconds)

    def _note_time(self, method: str, parameters: list[Any]) -> None:
        name = method.partition("_")[2]
        if name == "increaseTime":
            self._set_offset(self._offset_seconds + _number(parameters[0]))
        elif name in ("setTime", "setNextBlockTimestamp"):
            self._set_offset(_number(parameters[0]) - time.time())

    def _set_offset(self, seconds: float) -> None:
        self._offset_seconds = seconds
        write_durably(self._folder / CLOCK_FILE, f"{seconds:.3f}\n")

    def _read_offset(self) -> float:
        try:
            return float((self._folder / CLOCK_FILE).read_text())
        except FileNotFoundError:
            return 0.0
        except ValueError as error:
            raise JournalAltered(
                str(self._folder / CLOCK_FILE), 1, "not a number of seconds"
            ) from error

    # ---------------------------------------------------------------- starting

    def _opened(self, genesis: Genesis | None) -> Journal:
        if not self.journal_path.exists() and genesis is not None:
            return Journal.create(self.journal_path, genesis)
        journal, content = Journal.reopen(self.journal_path)
        # A block's last line has its hash. Without it the block was still being written, and no
        # answer had shown it.
        if content.entries and content.entries[-1].block_hash is None:
            journal.rewind(content.entries[-1].block - 1)
        return journal

    def _start(self) -> None:
        self._anvil = Anvil(self.genesis, _MINE_SECONDS, self._lease)
        chain = self._anvil.chain
        first = chain.block(0)
        self._hashes = [first.block_hash]
        timestamp = first.timestamp
        chain.rpc("evm_setAutomine", False)
        entries = read_journal(self.journal_path).entries
        for number, group in groupby(entries, key=lambda entry: entry.block):
            block = list(group)
            line, timestamp = block[0].index + 2, block[0].timestamp
            seal = block[-1]
            if seal.block_hash is None or seal.base_fee_wei is None:
                raise JournalAltered(str(self.journal_path), line, "its block has no hash")
            try:
                # anvil takes a timestamp that goes back here only.
                chain.rpc("evm_setTime", timestamp)
                chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(seal.base_fee_wei))
                for entry in block:
                    if entry.raw:
                        chain.rpc("eth_sendRawTransaction", "0x" + entry.raw.hex())
                chain.rpc("evm_mine", hex(timestamp))
            except RpcRefused as error:
                reason = f"anvil refuses it: {error.message}"
                raise JournalAltered(str(self.journal_path), line, reason) from error
            head = chain.block()
            if (head.number, head.block_hash) != (number, hex_of(seal.block_hash)):
                reason = f"block {number} comes out as {head.block_hash}"
                raise JournalAltered(str(self.journal_path), line, reason)
            self._hashes.append(head.block_hash)
        chain.rpc("evm_setTime", max(int(time.time() + self._offset_seconds), timestamp))
        chain.rpc("evm_setAutomine", True)

    def _alive(self) -> bool:
        return self._anvil is not None and not self._anvil.ended

    def _revive(self) -> None:
        if self._anvil is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._anvil.pid, signal.SIGKILL)
            self._anvil.stop()
        self._failure = None
        try:
            self._start()
            self.restarts += 1
        except WardroundError as error:
            self._failure = error

    def _supervise(self) -> None:
        pause_seconds = _POLL_SECONDS
        while not self._stopping.wait(pause_seconds):
            # Without the lock first: a request under way revives it itself.
            if self._alive() or isinstance(self._failure, JournalAltered):
                continue
            with self._lock:
                if not self._alive() and not self._stopping.is_set():
                    self._revive()
            pause_seconds = _POLL_SECONDS if self._failure is None else _AGAIN_SECONDS

    def _end(self) -> None:
        with self._lock:
            if self._anvil is not None:
                self._anvil.stop()
            if hasattr(self, "_lease"):
                self._lease.close()
            self._journal.close()


def _repeatable(method: str) -> bool:
    if method.startswith(("anvil_", "evm_", "hardhat_")):
        return method in _REPEATABLE
    return method not in ("eth_sendTransaction", "eth_sendUnsignedTransaction")


def _number(value: Any) -> int:
    return int(value, 0) if isinstance(value, str) else int(value)
