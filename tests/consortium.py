"""A node as a consortium runs it: another genesis, an older EVM, gas that costs nothing."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.store.served import served
from wardround.chain.chain import Chain, open_chain
from wardround.chain.errors import RpcRefused
from wardround.devchain.anvil import find_anvil
from wardround.devchain.errors import AnvilMissing

CHAIN_ID = 31_337_002
#: Options of anvil.
FREE = ("--block-base-fee-per-gas", "0", "--gas-price", "0", "--no-priority-fee")

_START_SECONDS = 20
_LISTENING = re.compile(r"^Listening on (\S+)$", re.MULTILINE)
_UNKNOWN_METHOD = -32601


@contextmanager
def consortium(folder: Path, *options: str) -> Iterator[str]:
    """Run a node with these options of anvil; give its address."""
    try:
        binary = find_anvil()
    except AnvilMissing as error:
        pytest.skip(str(error))
    said = folder / "anvil.txt"
    with said.open("wb") as output:
        node = subprocess.Popen(
            [
                *(str(binary), "--host", "127.0.0.1", "--port", "0"),
                *("--chain-id", str(CHAIN_ID), "--accounts", "0", *options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield f"http://{_listening(node, said)}"
        finally:
            node.terminate()
            node.wait(_START_SECONDS)


def _listening(node: subprocess.Popen[bytes], said: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if found := _LISTENING.search(said.read_text("utf-8", "replace")):
            return found[1]
        assert node.poll() is None, said.read_text("utf-8", "replace")
        time.sleep(0.02)
    raise AssertionError("the node does not listen")


@contextmanager
def opened(address: str, timeout_seconds: float = 120) -> Iterator[Chain]:
    """Open the chain for a block; see `open_chain`."""
    chain = open_chain(address, CHAIN_ID, timeout_seconds)
    try:
        yield chain
    finally:
        chain.close()


@contextmanager
def legacy_front(address: str) -> Iterator[str]:
    """A front to a free node that knows no EIP-1559, as Besu and Quorum; give its address."""
    with opened(address) as chain:

        def answer(method: str, params: list[Any]) -> Any:
            if method in ("eth_maxPriorityFeePerGas", "eth_feeHistory"):
                return {"code": _UNKNOWN_METHOD, "message": "Method not found"}
            # A legacy transaction is an RLP list; one with a type starts with its number.
            if method == "eth_sendRawTransaction" and int(params[0][2:4], 16) < 0xC0:
                return {"code": -32000, "message": "Transaction type not supported"}
            try:
                found = chain.rpc(method, *params)
            except RpcRefused as error:
                data = {} if error.data is None else {"data": "0x" + error.data.hex()}
                return {"code": error.rpc_code, "message": error.message, **data}
            if method == "eth_getBlockByNumber" and found is not None:
                del found["baseFeePerGas"]
            return b'{"jsonrpc":"2.0","id":1,"result":null}' if found is None else found

        with served(answer) as front:
            yield front
