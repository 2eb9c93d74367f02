"""A development chain in this process: py-evm, one block a transaction.

It drives py-evm directly. Through eth-tester and its provider the same transaction costs five to
fifteen times as much, most of it in copying and checking dictionaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from eth.chains.base import MiningChain
from eth.constants import BLANK_ROOT_HASH, POST_MERGE_MIX_HASH, POST_MERGE_NONCE, ZERO_ADDRESS
from eth.db import get_db_backend
from eth.exceptions import VMError
from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_typing import BlockNumber
from eth_utils import ValidationError, to_canonical_address, to_checksum_address

from wardround.chain.contract import Log

BLOCK_GAS = 30_000_000
#: The fee falls by an eighth before block 1, which then has 1 gwei, as anvil's does.
_GENESIS_BASE_FEE_WEI = 1_142_857_142


@dataclass(frozen=True)
class Genesis:
    """What a development chain starts from.

    Args:
        chain_id: signed into every transaction and contribution.
        timestamp: of block 0, seconds since 1970.
        balances: wei by address.
    """

    chain_id: int
    timestamp: int
    balances: Mapping[str, int]


class CallRequest(NamedTuple):
    """A call that is tried on the chain's state; ``to`` is None for a creation."""

    to: str | None
    data: bytes
    sender: str | None
    value_wei: int
    gas: int = BLOCK_GAS


class Refused(Exception):
    """The chain does not take a transaction; nothing changed."""


class Reverted(Exception):
    """A contract refused; `data` is what it returned, `out_of_gas` whether gas ran out instead."""

    def __init__(self, data: bytes, out_of_gas: bool) -> None:
        self.data = data
        self.out_of_gas = out_of_gas
        super().__init__(data.hex())


@dataclass(frozen=True)
class Executed:
    """A transaction of this chain with what became of it."""

    transaction_hash: str
    raw: bytes
    sender: str
    to: str | None
    nonce: int
    data: bytes
    block_number: int
    timestamp: int
    status: int
    gas_used: int
    contract_address: str | None
    logs: tuple[Log, ...]


class _Vm(PragueVM):
    def validate_block(self, block: Any) -> None:
        # We made it ourselves; and anvil, whose blocks are repeated here, mines several a second.
        pass


class _PragueChain(MiningChain):
    vm_configuration = ((BlockNumber(0), _Vm),)

    def create_header_from_parent(self, parent_header: Any, **fields: Any) -> Any:
        fields.setdefault("gas_limit", parent_header.gas_limit)
        return super().create_header_from_parent(parent_header, **fields)


class Evm:
    """Blocks, state and calls. Not safe for several threads at once."""

    def __init__(self, genesis: Genesis) -> None:
        self.chain_id = genesis.chain_id
        header = {
            "coinbase": ZERO_ADDRESS,
            "difficulty": 0,
            "extra_data": b"",
            "gas_limit": BLOCK_GAS,
            "mix_hash": POST_MERGE_MIX_HASH,
            "nonce": POST_MERGE_NONCE,
            "receipt_root": BLANK_ROOT_HASH,
            "transaction_root": BLANK_ROOT_HASH,
            "timestamp": genesis.timestamp,
            "base_fee_per_gas": _GENESIS_BASE_FEE_WEI,
        }
        state = {
            to_canonical_address(address): {
                "balance": balance,
                "nonce": 0,
                "code": b"",
                "storage": {},
            }
            for address, balance in genesis.balances.items()
        }
        kind: Any = type("EmbeddedChain", (_PragueChain,), {"chain_id": genesis.chain_id})
        self._chain = kind.from_genesis(get_db_backend(), header, state)
        self._open: list[Executed] = []

    # ---------------------------------------------------------------- blocks

    @property
    def head(self) -> Any:
        """The latest block's header, as py-evm has it."""
        return self._chain.get_canonical_head()

    def header(self, number: int) -> Any:
        """A block's header by its number, at most that of the head."""
        return self._chain.get_canonical_block_header_by_number(number)

    def execute(self, raw: bytes, timestamp: int, keep_reverted: bool) -> Executed:
        """Put a signed transaction into the block to come.

        Args:
            raw: the transaction as signed.
            timestamp: that block's, later than the head's.
            keep_reverted: whether one that fails is mined, as a public chain does, or refused.

        Raises:
            Refused: not a transaction that this chain could take.
            Reverted: it failed and is not kept.
        """
        chain = self._chain
        chain.header = chain.header.copy(timestamp=timestamp)
        vm = chain.get_vm(chain.header)
        block = vm.get_block()
        try:
            transaction = vm.get_transaction_builder().decode(raw)
            receipt, computation = vm.apply_transaction(block.header, transaction)
        except Exception as error:  # py-evm and rlp raise dozens of kinds
            raise Refused(str(error) or type(error).__name__) from error
        if computation.is_error and not keep_reverted:
            raise _reverted(computation)
        # From here on as MiningChain.apply_transaction.
        used_before = block.header.gas_used
        header = vm.add_receipt_to_header(block.header, receipt)
        vm.state.persist()
        chain.header = vm.set_block_transactions_and_withdrawals(
            block,
            header.copy(state_root=vm.state.state_root),
            (*block.transactions, transaction),
            (*block.get_receipts(chain.chaindb), receipt),
        ).header
        executed = self._describe(raw, transaction, receipt, computation, used_before)
        self._open.append(executed)
        return executed

    def seal(self, timestamp: int) -> list[Executed]:
        """Mine the block to come and return its transactions."""
        chain = self._chain
        vm = chain.get_vm(chain.header.copy(timestamp=timestamp))
        # The random word is fixed, so that a run repeats; no contract of ours reads it.
        block = vm.mine_block(
            vm.get_block(), coinbase=ZERO_ADDRESS, mix_hash=bytes(32), blob_gas_used=0
        ).block
        chain.persist_block(block, perform_validation=False)
        chain.header = chain.create_header_from_parent(block.header)
        mined, self._open = self._open, []
        return mined

    # ---------------------------------------------------------------- state

    def balance_wei(self, address: str) -> int:
        """What an account holds."""
        return int(self._state().get_balance(to_canonical_address(address)))

    def nonce(self, address: str) -> int:
        """How many transactions of an account were mined."""
        return int(self._state().get_nonce(to_canonical_address(address)))

    def code(self, address: str) -> bytes:
        """A contract's code."""
        return bytes(self._state().get_code(to_canonical_address(address)))

    def storage(self, address: str, slot: int) -> int:
        """A word of a contract's storage."""
        return int(self._state().get_storage(to_canonical_address(address), slot))

    def call(self, request: CallRequest, timestamp: int) -> bytes:
        """Call a contract on the head's state at some time, and keep nothing.

        Raises:
            Reverted: the contract refuses.
            Refused: the call could not even start.
        """
        computation = self._try(request, timestamp, request.gas)
        if computation.is_error:
            raise _reverted(computation)
        return bytes(computation.output)

    def estimate_gas(self, request: CallRequest, timestamp: int) -> int:
        """The least gas that a transaction succeeds with, to within one in a hundred.

        Raises:
            Reverted: it would fail.
            Refused: it could not even start.
        """
        self.call(request._replace(gas=BLOCK_GAS), timestamp)
        enough, too_little = BLOCK_GAS, 20_999
        while enough - too_little > max(1, enough // 100):
            middle = (enough + too_little) // 2
            try:
                failed = self._try(request, timestamp, middle).is_error
            except Refused:  # less than the transaction itself costs
                failed = True
            enough, too_little = (enough, middle) if failed else (middle, too_little)
        return enough

    # ---------------------------------------------------------------- inside

    def _state(self) -> Any:
        return self._chain.get_vm(self.head).state

    def _try(self, request: CallRequest, timestamp: int, gas: int) -> Any:
        # Not py-evm's `in_costless_state`: that one looks at the wall clock.
        header = self.head.copy(base_fee_per_gas=0, timestamp=timestamp)
        vm = self._chain.get_vm(header)
        state = vm.build_state(self._chain.chaindb.db, header, vm.chain_context)
        origin = ZERO_ADDRESS
        if request.sender is not None:
            origin = to_canonical_address(request.sender)
        unsigned = self._chain.create_unsigned_transaction(
            nonce=state.get_nonce(origin),
            gas_price=0,
            gas=gas,
            to=b"" if request.to is None else to_canonical_address(request.to),
            value=request.value_wei,
            data=request.data,
        )
        try:
            return state.costless_execute_transaction(SpoofTransaction(unsigned, from_=origin))
        except (ValidationError, VMError) as error:
            raise Refused(str(error)) from error

    def _describe(
        self, raw: bytes, transaction: Any, receipt: Any, computation: Any, used_before: int
    ) -> Executed:
        number = self._chain.header.block_number
        transaction_hash = "0x" + transaction.hash.hex()
        first_log = sum(len(earlier.logs) for earlier in self._open)
        logs = tuple(
            Log(
                to_checksum_address(log.address),
                tuple(topic.to_bytes(32, "big") for topic in log.topics),
                bytes(log.data),
                number,
                transaction_hash,
                first_log + place,
            )
            for place, log in enumerate(receipt.logs)
        )
        created = None
        if not transaction.to and not computation.is_error:
            created = to_checksum_address(computation.msg.storage_address)
        return Executed(
            transaction_hash,
            raw,
            to_checksum_address(transaction.sender),
            to_checksum_address(transaction.to) if transaction.to else None,
            transaction.nonce,
            bytes(transaction.data),
            number,
            self._chain.header.timestamp,
            0 if computation.is_error else 1,
            receipt.gas_used - used_before,
            created,
            logs,
        )


def _reverted(computation: Any) -> Reverted:
    data = bytes(computation.output)
    return Reverted(data, not data and "gas" in str(computation.error).lower())
