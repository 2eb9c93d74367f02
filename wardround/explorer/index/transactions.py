"""Transactions of the events: their senders, gas and signed bytes."""

from __future__ import annotations

import sqlite3

from eth_utils import keccak

from wardround.chain.errors import RpcRefused
from wardround.chain.rpc import Rpc
from wardround.explorer.index.database import transaction
from wardround.explorer.index.node import unreliable


class TransactionReader:
    """Adds sender, gas and signed bytes to transactions, which `eth_getLogs` does not give."""

    def __init__(self, connection: sqlite3.Connection, rpc: Rpc) -> None:
        self._db = connection
        self._rpc = rpc
        #: Not every node gives transactions as they were signed.
        self._gives_raw = True

    def fetch(self, limit: int) -> int:
        """Fetch transactions for the first time, the newest first; return how many.

        Raises:
            NodeUnreliable: a signed transaction does not give its hash, or the node no longer has
                one because the chain has changed.
            ChainUnreachable: no answer.
        """
        wanted = self._db.execute(
            "SELECT id, hash, block FROM tx WHERE sender IS NULL ORDER BY id DESC LIMIT ?",
            (limit,),
        ).fetchall()
        if not wanted:
            return 0
        hashes = [one[1] for one in wanted]
        found = self._rpc.many(
            [("eth_getTransactionByHash", (one,)) for one in hashes]
            + [("eth_getTransactionReceipt", (one,)) for one in hashes]
        )
        raws = self._raws(hashes)
        rows = []
        for (key, name, block), sent, receipt, raw in zip(
            wanted, found[: len(wanted)], found[len(wanted) :], raws, strict=True
        ):
            if sent is None or receipt is None:
                reason = f"it no longer has transaction {name}"
                raise unreliable(self._rpc, block, reason)
            if raw is not None and "0x" + keccak(raw).hex() != name:
                reason = f"transaction {name} as signed has another hash"
                raise unreliable(self._rpc, block, reason)
            try:
                recipient = None if sent.get("to") is None else sent["to"].lower()
                rows.append(
                    (sent["from"].lower(), recipient, int(receipt["gasUsed"], 16), raw, key)
                )
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                reason = f"a transaction is malformed ({error!r:.80})"
                raise unreliable(self._rpc, block, reason) from error
        with transaction(self._db):
            self._db.executemany(
                "UPDATE tx SET sender = ?, recipient = ?, gas_used = ?, raw = ? WHERE id = ?", rows
            )
        return len(rows)

    def _raws(self, hashes: list[str]) -> list[bytes | None]:
        if self._gives_raw:
            try:
                found = self._rpc.many([("eth_getRawTransactionByHash", (one,)) for one in hashes])
                return [None if one is None else bytes.fromhex(one[2:]) for one in found]
            except RpcRefused:
                self._gives_raw = False
        return [None] * len(hashes)
