"""One transaction under one nonce, from its signature until it is confirmed.

All that is ever signed here has the same nonce, so at most one of it is mined, whatever is sent
again, replaced or forgotten on the way. The nonce is the number of the sender's mined
transactions, not of the pending ones: what an earlier process left hanging is replaced, and never
jams the sender.
"""

from __future__ import annotations

import time
from typing import Any

from eth_account.signers.local import LocalAccount

from wardround.chain.blocks import Receipt
from wardround.chain.contract import Call
from wardround.chain.errors import (
    RpcRefused,
    TransactionRefused,
    TransactionTimedOut,
    gas_cap_exceeded,
    not_enough_funds,
)
from wardround.chain.reader import ReadOnlyChain
from wardround.host.backoff import pauses
from wardround.host.steps import Step, durable

_FIRST_POLL_SECONDS = 0.001
_LAST_POLL_SECONDS = 0.5
_RECEIPT_LAG_SECONDS = 2.0
_LOOK_SECONDS = 1.0
_DEFAULT_PRIORITY_WEI = 10**9
#: Nodes ask a tenth more for a replacement, some an eighth.
_BUMP_EIGHTHS = 9
#: From the least fee to any that a sender could pay.
_MAX_BUMPS = 200

Fees = dict[str, int]


class PendingTransaction:
    """A transaction on its way."""

    def __init__(
        self, chain: ReadOnlyChain, signer: LocalAccount, function: Call, gas: int, label: str
    ) -> None:
        """Prepare it; `run` sends it.

        Args:
            chain: sends it, and has the number of confirmations and the fee cap.
            signer: pays and signs.
            function: what to call.
            gas: what it may use.
            label: names the attempt in errors.
        """
        self._chain = chain
        self._signer = signer
        self._function = function
        self._gas = gas
        self._label = label
        self._nonce = 0
        self._fees: Fees = {}
        #: What was signed, by hash, the youngest last: any of it may be the one that is mined.
        self._raws: dict[str, str] = {}
        self._capped_at: int | None = None

    def run(self) -> Receipt | None:
        """Send it, and wait until it is mined and confirmed.

        Returns:
            The receipt; None when another transaction of the sender has taken the nonce for good.

        Raises:
            ContractReverted, TransactionRefused: the node does not take it.
            TransactionTimedOut: no receipt, or no new block upon it, within the chain's time; more
                is needed than may be paid; or a reorganisation undid an earlier transaction of
                the sender, which must look at the chain again.
            ChainUnreachable: no answer.
        """
        self._nonce = self._mined_count()
        self._fees = self._allowed(self._market_fees())
        with durable(Step.TRANSACTION_SENT):
            if not self._submit():
                return None
        sent_at = looked_at = time.monotonic()
        deadline = sent_at + self._chain.timeout_seconds
        pause = pauses(_FIRST_POLL_SECONDS, _LAST_POLL_SECONDS)
        taken_at, undone_at, head = None, None, -1
        while True:
            receipt = self._receipt()
            now = time.monotonic()
            mined = self._nonce if receipt is not None else self._mined_count()
            undone_at = (undone_at or now) if mined < self._nonce else None
            if receipt is not None:
                taken_at = None
                standing, number = self._confirmed(receipt)
                if standing:
                    with durable(Step.RECEIPT_SEEN):
                        return receipt
                if number > head:
                    # A new block arrived: the timeout counts from the last one.
                    head, deadline = number, now + self._chain.timeout_seconds
            elif undone_at is not None and now > undone_at + _RECEIPT_LAG_SECONDS:
                # Not at once: another endpoint may only lag behind.
                reason = (
                    "a reorganisation undid an earlier transaction of the sender, and "
                    f"{self._youngest()} cannot be mined without it"
                )
                raise TransactionTimedOut(self._label, reason)
            elif mined > self._nonce:
                # Nodes count a transaction some time before they show its receipt: to give up at
                # once would be to send it twice.
                taken_at = taken_at or now
                if now > taken_at + _RECEIPT_LAG_SECONDS:
                    return None
            elif now > looked_at + _LOOK_SECONDS:
                looked_at = now
                if not self._raws:
                    # Nothing that we may pay was taken; fees may have fallen since.
                    self._fees = self._allowed(self._market_fees())
                    if not self._submit():
                        return None
                elif now > sent_at + self._chain.bump_seconds:
                    self._bump()
                    sent_at = now
                self._send_again_if_forgotten()
            if now > deadline:
                raise self._timed_out()
            time.sleep(next(pause))

    # ---------------------------------------------------------------- sending

    def _submit(self) -> bool:
        """Sign with the fees as they are and send; False when the nonce is another's."""
        for _ in range(_MAX_BUMPS):
            transaction_hash, raw = self._signed()
            try:
                self._chain.rpc("eth_sendRawTransaction", raw)
            except RpcRefused as error:
                words = error.message.lower()
                if self._raws:
                    # A replacement is refused: the one before is still on its way.
                    if error.underpriced and self._raise_fees():
                        continue
                    return True
                self._refuse(error, words)
                if error.underpriced:
                    if self._raise_fees():
                        continue
                    # Another transaction of this nonce pays more than we may: wait for that one.
                    return True
                if self._chain.rpc("eth_getTransactionByHash", transaction_hash) is None:
                    if "nonce" in words:
                        return False
                    raise self._chain.named(self._label, error) from error
            self._raws[transaction_hash] = raw
            return True
        raise TransactionRefused(self._label, "the node refuses its fee, however high")

    def _refuse(self, error: RpcRefused, words: str) -> None:
        if "out of gas" in words:
            raise gas_cap_exceeded(self._label, self._gas, None) from error
        if error.unaffordable:
            needed = self._gas * max(self._fees.values()) + self._function.value_wei
            held = self._chain.balance_wei(self._signer.address)
            raise not_enough_funds(self._label, self._signer.address, held, needed) from error
        if error.reverted:
            raise self._chain.named(self._label, error) from error

    def _signed(self) -> tuple[str, str]:
        fields: dict[str, Any] = {
            "chainId": self._chain.chain_id,
            "nonce": self._nonce,
            "gas": self._gas,
            "value": self._function.value_wei,
            "data": self._function.data,
            **self._fees,
        }
        if self._function.to is not None:
            fields["to"] = self._function.to
        signed = self._signer.sign_transaction(fields)
        return "0x" + signed.hash.hex(), "0x" + signed.raw_transaction.hex()

    def _bump(self) -> None:
        """Replace one that hangs by one that pays at least an eighth more, and what is usual."""
        if self._raise_fees(self._market_fees()):
            self._submit()

    def _send_again_if_forgotten(self) -> None:
        # A node that was restarted, a reorganisation, another endpoint: the pool has lost it.
        if not self._raws:
            return
        youngest = next(reversed(self._raws))
        if self._chain.rpc("eth_getTransactionByHash", youngest) is None:
            try:
                self._chain.rpc("eth_sendRawTransaction", self._raws[youngest])
            except RpcRefused:
                # Known after all, mined just now, or too cheap: the next look tells.
                return

    # ---------------------------------------------------------------- fees

    def _market_fees(self) -> Fees:
        base = self._chain.block().base_fee_wei
        if base is None:
            return {"gasPrice": int(self._chain.rpc("eth_gasPrice"), 16)}
        try:
            priority = int(self._chain.rpc("eth_maxPriorityFeePerGas"), 16)
        except RpcRefused:
            priority = _DEFAULT_PRIORITY_WEI
        if base == 0:
            # Gas is free here, and a sender may hold nothing: it offers what it can spare.
            spare = self._chain.balance_wei(self._signer.address) - self._function.value_wei
            priority = min(priority, max(0, spare) // self._gas)
        # Twice the base fee lasts for six full blocks in a row.
        return {"maxFeePerGas": 2 * base + priority, "maxPriorityFeePerGas": priority}

    def _allowed(self, fees: Fees) -> Fees:
        cap = self._chain.max_fee_wei
        return fees if cap is None else {name: min(fee, cap) for name, fee in fees.items()}

    def _raise_fees(self, market: Fees | None = None) -> bool:
        """Raise every fee as far as a replacement needs; False when that is not allowed."""
        least = {name: max(1, -(-fee * _BUMP_EIGHTHS // 8)) for name, fee in self._fees.items()}
        more = {name: max(fee, (market or {}).get(name, 0)) for name, fee in least.items()}
        allowed = self._allowed(more)
        if any(allowed[name] < fee for name, fee in least.items()):
            self._capped_at = max(more.values())
            return False
        self._fees, self._capped_at = allowed, None
        return True

    # ---------------------------------------------------------------- waiting

    def _mined_count(self) -> int:
        return self._chain.transaction_count(self._signer.address)

    def _receipt(self) -> Receipt | None:
        for transaction_hash in reversed(self._raws):
            receipt = self._chain.receipt(transaction_hash)
            if receipt is not None:
                return receipt
        return None

    def _confirmed(self, receipt: Receipt) -> tuple[bool, int]:
        """Whether enough blocks stand upon a receipt's own, and the head's number."""
        if self._chain.confirmations == 0:
            return True, receipt.block_number
        head = self._chain.block().number
        if head < receipt.block_number + self._chain.confirmations:
            return False, head
        # The head may be that of another branch than the receipt was read from.
        again = self._chain.receipt(receipt.transaction_hash)
        same = again is not None and again.block_hash == receipt.block_hash
        return same, head

    def _youngest(self) -> str:
        return next(reversed(self._raws), "a transaction")

    def _timed_out(self) -> TransactionTimedOut:
        transaction_hash = self._youngest()
        seconds, cap = self._chain.timeout_seconds, self._chain.max_fee_wei
        if self._capped_at is not None and cap is not None:
            reason = (
                f"{transaction_hash} needs {self._capped_at} wei a gas where {cap} are allowed: "
                "allow more, or wait for lower fees"
            )
        else:
            reason = f"no receipt of {transaction_hash} within {seconds:g} s: it may still be mined"
        return TransactionTimedOut(self._label, reason)
