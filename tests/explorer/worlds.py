"""A real anvil with real studies on it, and nodes in front of it that fail in chosen ways."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from web3.providers import BaseProvider
from web3.types import RPCEndpoint, RPCResponse

from wardround.chain.chain import Chain
from wardround.chain.court import Court
from wardround.chain.rpc import Rpc
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.devchain.anvil import Anvil
from wardround.devchain.errors import AnvilMissing
from wardround.devchain.evm import Genesis
from wardround.explorer.index.decode import EventTable
from wardround.explorer.index.follow import Follower
from wardround.explorer.index.node import Node
from wardround.explorer.indexer import Indexer
from wardround.explorer.source import Source
from wardround.protocol.record import Recording, RuleId
from wardround.store import FolderStore
from wardround_simulations.stage import BOND, REWARD, Parties, Stage, specification

_ETHER = 10**18
_GENESIS_SECONDS = 1_760_000_000


@dataclass
class World:
    """An anvil with the contract, on which studies are put."""

    anvil: Anvil
    parties: Parties
    ward: WardRound
    token: StudyToken
    folder: Path
    stages: list[Stage] = field(default_factory=list)

    @property
    def chain(self) -> Chain:
        return self.anvil.chain

    def stage(
        self,
        rounds: int = 3,
        recording: Recording = Recording.FULL,
        rule: RuleId = RuleId.MEAN,
    ) -> Stage:
        spec = specification(f"study-{len(self.stages)}", recording, rule, rounds, 0)
        # One store for all of them, as an explorer is given.
        stage = Stage(self.ward, self.token, self.parties, spec, self.folder / "store")
        self.stages.append(stage)
        return stage

    def source(self, chain: Chain | None = None) -> Source:
        asked = chain or self.chain
        ward = WardRound(asked, self.ward.address)
        store = FolderStore(self.folder / "store")
        return Source("world", asked, ward, Court(ward), store, 0, live=True)

    def fresh(self, path: Path) -> Path:
        """A new index of everything there is."""
        indexer = Indexer(self.source(), path)
        indexer.catch_up()
        indexer.close()
        return path


@contextmanager
def world(folder: Path, genesis_seconds: int = _GENESIS_SECONDS) -> Iterator[World]:
    parties = Parties.new()
    balances = dict.fromkeys([*parties.addresses, Account.create().address], 10_000 * _ETHER)
    try:
        anvil = Anvil(Genesis(31337, genesis_seconds, balances))
    except AnvilMissing as error:
        pytest.skip(str(error))
    with anvil:
        token = StudyToken.deploy(anvil.chain, parties.sponsor, 60 * (4 * REWARD + 2 * BOND))
        ward = WardRound.deploy(anvil.chain, parties.sponsor)
        yield World(anvil, parties, ward, token, folder)


#: What a faulty node makes of an answer: method, parameters, the true result.
Fault = Callable[[str, Any, Any], Any]


class FaultyProvider(BaseProvider):
    """A node whose answers may be changed on their way."""

    def __init__(self, inner: BaseProvider) -> None:
        super().__init__()
        self.inner = inner
        self.fault: Fault | None = None

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        answer: Any = self.inner.make_request(method, params)
        if self.fault is not None and "result" in answer:
            answer = {**answer, "result": self.fault(method, params, answer["result"])}
        return answer  # type: ignore[no-any-return]


def faulty(chain: Chain) -> tuple[Chain, FaultyProvider]:
    """The same chain through a node that can be made to fail."""
    provider = FaultyProvider(chain.rpc.provider)
    return Chain(Rpc(provider, "http://faulty")), provider


def follower(source: Source, connection: sqlite3.Connection) -> Follower:
    names = source.contracts
    node = Node(source.chain.rpc, list(names))
    return Follower(connection, node, EventTable(names), 0, now=lambda: 0.0)


def content(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of an index, without those about how it was built."""
    db = sqlite3.connect(path)
    tables = (
        *("block", "tx", "event", "mention", "study", "member", "closing", "entry", "earned"),
        "dropped",
    )
    found = {
        table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables
    }
    found["manifest"] = db.execute(
        "SELECT closing, cid, status, reason, bytes, document FROM manifest ORDER BY closing"
    ).fetchall()
    found["events"] = db.execute("SELECT value FROM meta WHERE key = 'events'").fetchall()
    db.close()
    return found
