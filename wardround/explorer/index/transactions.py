"""Transactions behind the events: who sent them, what they cost, and as they were signed."""

from __future__ import annotations

import sqlite3
from typing import Any

from eth_utils import keccak

from wardround.chain.errors import RpcRefused
from wardround.chain.rpc import Rpc
from wardround.explorer.errors import NodeIncomplete, NodeLied
from wardround.explorer.index.database import transaction


class TransactionReader:
    """Fills in what `eth_getLogs` does not say of transactions."""

    def __init__(self, connection: sqlite3.Connection, rpc: Rpc) -> None:
        self._db = connection
        self._rpc = rpc
        #: Not every node gives transactions as they were signed.
        self._gives_raw = True

    def fetch(self, limit: int) -> int:
        """Look up transactions that were not looked up yet, the newest first; return how many.

        Raises:
            NodeLied: a signed transaction does not give its hash.
            NodeIncomplete: the node no longer has one: the chain has changed meanwhile.
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
                raise NodeIncomplete(self._rpc.url, block, reason)
            if raw is not None and "0x" + keccak(raw).hex() != name:
                reason = f"transaction {name} as signed has another hash"
                raise NodeLied(self._rpc.url, block, reason)
            rows.append(self._row(sent, receipt, raw, key, block))
        with transaction(self._db):
            self._db.executemany(
                "UPDATE tx SET sender = ?, recipient = ?, gas_used = ?, raw = ? WHERE id = ?", rows
            )
        return len(rows)

    def _row(
        self, sent: Any, receipt: Any, raw: bytes | None, key: int, block: int
    ) -> tuple[Any, ...]:
        try:
            recipient = sent.get("to")
            return (
                sent["from"].lower(),
                None if recipient is None else recipient.lower(),
                int(receipt["gasUsed"], 16),
                raw,
                key,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"a transaction is malformed ({error!r:.80})"
            raise NodeLied(self._rpc.url, block, reason) from error

    def _raws(self, hashes: list[str]) -> list[bytes | None]:
        if self._gives_raw:
            try:
                found = self._rpc.many([("eth_getRawTransactionByHash", (one,)) for one in hashes])
                return [None if one is None else bytes.fromhex(one[2:]) for one in found]
            except RpcRefused:
                self._gives_raw = False
        return [None] * len(hashes)
