"""What the guard asks of the chain, where the chain asks for patience."""

from types import SimpleNamespace

import pytest

from tests.store.served import HttpAnswer, served
from wardround.chain import rpc
from wardround.chain.errors import ChainBusy
from wardround_client.guard.chain import ChainReader
from wardround_client.settings import ChainTable


def test_guard_waits_ten_seconds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(rpc, "time", SimpleNamespace(sleep=waits.append))
    with served(lambda *_: HttpAnswer("no", 429)) as url:
        table = ChainTable(endpoints=[url], chain_id=5, contract="0x" + "11" * 20)
        with pytest.raises(ChainBusy):
            ChainReader(table).contract()
    assert sum(waits) == pytest.approx(10)
