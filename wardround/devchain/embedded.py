"""The embedded chain: `wardround.devchain.evm` behind the same JSON-RPC methods as any node.

Transactions are mined at once, each in its own block. One that would fail is refused instead of
mined, so no gas estimate is needed before sending: that halves the work.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

from web3.providers import BaseProvider
from web3.types import RPCEndpoint, RPCResponse

from wardround.chain.chain import GAS_CAP, Chain, register_embedded
from wardround.chain.contract import Call, Log
from wardround.chain.rpc import Rpc
from wardround.devchain.evm import BLOCK_GAS, CallRequest, Evm, Executed, Genesis, Refused, Reverted
from wardround.protocol.identifiers import hex_of

_REVERTED = 3
_REFUSED = -32000
_UNKNOWN_METHOD = -32601

#: Called with every mined block's time and transactions, before anyone hears of them.
Recorder = Callable[[int, int, list[Executed]], None]


class EmbeddedProvider(BaseProvider):
    """Answers the JSON-RPC requests of `chain.Chain`, one at a time, from an EVM in process.

    Args:
        evm: the chain.
        clock: seconds since 1970. Each block is at least a second after the one before, so a
            stopped clock gives blocks one second apart.
    """

    def __init__(self, evm: Evm, clock: Callable[[], int]) -> None:
        super().__init__()
        self.evm = evm
        self._clock = clock
        self._offset_seconds = 0
        self._record: Recorder | None = None
        self._lock = threading.RLock()
        self._transactions: dict[str, Executed] = {}
        self._blocks: dict[int, list[Executed]] = {}
        self._hashes: dict[int, str] = {}
        self._answers: dict[tuple[CallRequest, int], bytes] = {}
        self._methods: dict[str, Callable[..., Any]] = {
            "eth_chainId": lambda: hex(evm.chain_id),
            "eth_blockNumber": lambda: hex(evm.head.block_number),
            "eth_getBalance": lambda address, _="latest": hex(evm.balance_wei(address)),
            "eth_getTransactionCount": lambda address, _="latest": hex(evm.nonce(address)),
            "eth_getCode": lambda address, _="latest": hex_of(evm.code(address)),
            "eth_getStorageAt": lambda address, slot, _="latest": hex_of(
                evm.storage(address, int(slot, 16)).to_bytes(32, "big")
            ),
            "eth_gasPrice": lambda: hex(evm.head.base_fee_per_gas + 1),
            "eth_maxPriorityFeePerGas": lambda: hex(1),
            "eth_call": self._call,
            "eth_estimateGas": self._estimate_gas,
            "eth_sendRawTransaction": lambda raw: self.send(bytes.fromhex(raw[2:])),
            "eth_getBlockByNumber": self._block,
            "eth_getTransactionByHash": self._transaction,
            "eth_getRawTransactionByHash": self._raw_transaction,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getLogs": self._logs,
            "evm_increaseTime": self._increase_time,
            "evm_mine": lambda: hex(self.mine()),
            "web3_clientVersion": lambda: "wardround/embedded",
        }

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Answer one request, as web3 asks it."""
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": 1}
        found = self._methods.get(method)
        if found is None:
            answer["error"] = {"code": _UNKNOWN_METHOD, "message": f"method {method} not found"}
            return answer  # type: ignore[return-value]
        try:
            with self._lock:
                answer["result"] = found(*params)
        except Reverted as error:
            words = "out of gas" if error.out_of_gas else "execution reverted"
            data = {} if error.out_of_gas else {"data": hex_of(error.data)}
            answer["error"] = {"code": _REVERTED, "message": words} | data
        except Refused as error:
            answer["error"] = {"code": _REFUSED, "message": _node_words(str(error))}
        return answer  # type: ignore[return-value]

    def send(self, raw: bytes) -> str:
        """Mine a transaction, or refuse it. Returns its hash."""
        timestamp = self._next_timestamp()
        executed = self.evm.execute(raw, timestamp, keep_reverted=False)
        self._seal(timestamp)
        return executed.transaction_hash

    def mine(self) -> int:
        """Mine an empty block and return its number."""
        self._seal(self._next_timestamp())
        return int(self.evm.head.block_number)

    def repeat(self, timestamp: int, raws: list[bytes]) -> list[Executed]:
        """Mine a block of a journal again: these transactions, failing ones too, at that time.

        Raises:
            Refused: the chain cannot take one of them, or time goes back.
        """
        if timestamp < self.evm.head.timestamp:
            raise Refused("its time is before that of the block it follows")
        for raw in raws:
            self.evm.execute(raw, timestamp, keep_reverted=True)
        return self._keep(timestamp)

    def follow(self, record: Recorder) -> None:
        """Tell of every block from now on, before its sender hears of it."""
        self._record = record

    # ---------------------------------------------------------------- inside

    def _next_timestamp(self) -> int:
        earliest: int = self.evm.head.timestamp + 1
        return max(earliest, self._clock() + self._offset_seconds)

    def _increase_time(self, seconds: int) -> int:
        # A clock that is behind the chain is brought up to it, then all of it counts.
        behind: int = max(0, self.evm.head.timestamp - self._clock() - self._offset_seconds)
        self._offset_seconds += behind + seconds
        return self._offset_seconds

    def _seal(self, timestamp: int) -> None:
        mined = self._keep(timestamp)
        if self._record is not None:
            self._record(self.evm.head.block_number, timestamp, mined)

    def _keep(self, timestamp: int) -> list[Executed]:
        self._answers.clear()
        mined = self.evm.seal(timestamp)
        self._blocks[self.evm.head.block_number] = mined
        self._transactions.update((one.transaction_hash, one) for one in mined)
        return mined

    def _call(self, request: Mapping[str, str], block: str = "latest") -> str:
        asked = (_asked(request), self._time_of(block))
        # Every site asks the same of the same block: run it once.
        if asked not in self._answers:
            self._answers[asked] = self.evm.call(*asked)
        return hex_of(self._answers[asked])

    def _estimate_gas(self, request: Mapping[str, str], block: str = "latest") -> str:
        return hex(self.evm.estimate_gas(_asked(request), self._time_of(block)))

    def _time_of(self, block: str) -> int:
        head: int = self.evm.head.timestamp
        return self._next_timestamp() if block == "pending" else head

    def _block(self, number: str, _: bool = False) -> dict[str, Any] | None:
        head = self.evm.head
        if number in ("latest", "safe", "finalized", "pending"):
            header = head
        elif (asked := 0 if number == "earliest" else int(number, 16)) <= head.block_number:
            header = self.evm.header(asked)
        else:
            return None
        return {
            "number": hex(header.block_number),
            "hash": hex_of(header.hash),
            "parentHash": hex_of(header.parent_hash),
            "timestamp": hex(header.timestamp),
            "gasUsed": hex(header.gas_used),
            "gasLimit": hex(header.gas_limit),
            "baseFeePerGas": hex(header.base_fee_per_gas),
            "sha3Uncles": hex_of(header.uncles_hash),
            "miner": hex_of(header.coinbase),
            "stateRoot": hex_of(header.state_root),
            "transactionsRoot": hex_of(header.transaction_root),
            "receiptsRoot": hex_of(header.receipt_root),
            "logsBloom": hex_of(header.bloom.to_bytes(256, "big")),
            "difficulty": hex(header.difficulty),
            "extraData": hex_of(header.extra_data),
            "mixHash": hex_of(header.mix_hash),
            "nonce": hex_of(header.nonce),
            "withdrawalsRoot": hex_of(header.withdrawals_root),
            "blobGasUsed": hex(header.blob_gas_used),
            "excessBlobGas": hex(header.excess_blob_gas),
            "parentBeaconBlockRoot": hex_of(header.parent_beacon_block_root),
            "requestsHash": hex_of(header.requests_hash),
            "transactions": [
                one.transaction_hash for one in self._blocks.get(header.block_number, ())
            ],
        }

    def _transaction(self, transaction_hash: str) -> dict[str, Any] | None:
        one = self._transactions.get(transaction_hash)
        if one is None:
            return None
        return {
            "hash": one.transaction_hash,
            "from": one.sender,
            "to": one.to,
            "nonce": hex(one.nonce),
            "input": hex_of(one.data),
            "blockNumber": hex(one.block_number),
        }

    def _raw_transaction(self, transaction_hash: str) -> str | None:
        one = self._transactions.get(transaction_hash)
        return None if one is None else hex_of(one.raw)

    def _receipt(self, transaction_hash: str) -> dict[str, Any] | None:
        one = self._transactions.get(transaction_hash)
        if one is None:
            return None
        return {
            "transactionHash": one.transaction_hash,
            "blockNumber": hex(one.block_number),
            "from": one.sender,
            "to": one.to,
            "status": hex(one.status),
            "gasUsed": hex(one.gas_used),
            "contractAddress": one.contract_address,
            "blockHash": self._hash_of(one.block_number),
            "transactionIndex": hex(self._blocks[one.block_number].index(one)),
            "logs": [self._log(log, one) for log in one.logs],
        }

    def _logs(self, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        head = int(self.evm.head.block_number)
        first, last = (
            head if asked.get(key, "latest") == "latest" else int(asked[key], 16)
            for key in ("fromBlock", "toBlock")
        )
        address = asked.get("address")
        addresses = [address] if isinstance(address, str) else address
        among = None if addresses is None else {one.lower() for one in addresses}
        wanted = asked.get("topics", [])
        return [
            self._log(log, one)
            for number in range(first, min(last, head) + 1)
            for one in self._blocks.get(number, ())
            for log in one.logs
            if (among is None or log.address.lower() in among) and _matches(log.topics, wanted)
        ]

    def _log(self, log: Log, one: Executed) -> dict[str, Any]:
        return {
            "address": log.address,
            "topics": [hex_of(topic) for topic in log.topics],
            "data": hex_of(log.data),
            "blockNumber": hex(log.block_number),
            "blockHash": self._hash_of(log.block_number),
            "blockTimestamp": hex(one.timestamp),
            "transactionHash": log.transaction_hash,
            "transactionIndex": hex(self._blocks[log.block_number].index(one)),
            "logIndex": hex(log.log_index),
        }

    def _hash_of(self, number: int) -> str:
        if number not in self._hashes:
            self._hashes[number] = hex_of(self.evm.header(number).hash)
        return self._hashes[number]


class EmbeddedChain(Chain):
    """A chain in this process; it ends with it, so `devchain.journal` keeps what happened.

    Args:
        name: where `open_chain` finds it while it is open: ``embedded:NAME``.
        genesis: what it starts from.
        clock: seconds since 1970; by default blocks are one second apart, so that a run repeats.
    """

    def __init__(self, name: str, genesis: Genesis, clock: Callable[[], int] | None = None) -> None:
        self.name = name
        self.genesis = genesis
        self.provider = EmbeddedProvider(Evm(genesis), clock or (lambda: genesis.timestamp))
        super().__init__(Rpc(self.provider, f"embedded:{name}"))
        register_embedded(name, self)

    def close(self) -> None:
        """Forget the chain."""
        register_embedded(self.name, None)

    def let_pass(self, seconds: float) -> None:
        """Move the clock on at once: nobody else waits for this chain's time."""
        self.advance(math.ceil(seconds))

    def _gas(self, sender: str, function: Call, label: str) -> int:
        return GAS_CAP


def _asked(request: Mapping[str, str]) -> CallRequest:
    data = bytes.fromhex(request.get("data", request.get("input", "0x"))[2:])
    value_wei = int(request.get("value", "0x0"), 16)
    gas = int(request.get("gas", hex(BLOCK_GAS)), 16)
    return CallRequest(request.get("to"), data, request.get("from"), value_wei, gas)


def _matches(topics: tuple[bytes, ...], wanted: list[str | None]) -> bool:
    if len(wanted) > len(topics):
        return False
    return all(
        want is None or want.lower() == hex_of(topic)
        for want, topic in zip(wanted, topics, strict=False)
    )


def _node_words(message: str) -> str:
    # py-evm's messages, and those of other nodes for the same.
    words = message.lower()
    if "nonce" in words:
        return f"nonce too low: {message}"
    if "insufficient" in words or "cannot afford" in words or "balance" in words:
        return f"insufficient funds: {message}"
    return message
