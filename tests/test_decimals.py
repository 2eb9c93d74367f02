"""Commands and the explorer show a study's amounts by its token's decimals."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.calling import Call
from tests.odd_tokens import token_of
from wardround.chain.court import Court
from wardround.chain.ward_round import WardRound
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.evm import Genesis
from wardround.devchain.faucet import DEV_CHAIN_ID, ETHER, FAUCET, balances_of
from wardround.explorer.indexer import Indexer
from wardround.explorer.reader import Reader
from wardround.explorer.screen import picture
from wardround.explorer.source import Source
from wardround.explorer.web.explorer import Explorer
from wardround.explorer.web.lookup import site_page
from wardround.explorer.web.round import round_page
from wardround.explorer.web.study import overview_page, study_page
from wardround.host.key_file import write_private
from wardround.protocol.identifiers import hex_of
from wardround.protocol.record import Recording, RuleId
from wardround_simulations.stage import Parties, Stage, specification

#: A quarter of a round's reward, 25 * 10**18 units, in tokens; and the whole of it.
QUARTER = {0: "25,000,000,000,000,000,000", 6: "25,000,000,000,000", 18: "25", 24: "0.000025"}
WHOLE = {0: "100,000,000,000,000,000,000", 6: "100,000,000,000,000", 18: "100", 24: "0.0001"}


@dataclass
class Paid:
    """A study whose only round is final, in a token of some decimals."""

    decimals: int
    stage: Stage

    @property
    def on(self) -> list[str]:
        return ["--chain", self.stage.chain.url, "--contract", self.stage.contract.address]


@pytest.fixture(params=[0, 6, 18, 24])
def paid(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Paid]:
    monkeypatch.chdir(tmp_path)
    chain = EmbeddedChain(tmp_path.name, Genesis(DEV_CHAIN_ID, int(time.time()), balances_of([])))
    parties = Parties.new()
    for account in parties.addresses:
        chain.transfer(FAUCET, account, 100 * ETHER)
    write_private(tmp_path / "any.key", parties.sponsor.key.hex())
    token = token_of(chain, parties.sponsor, 10**30, request.param)
    spec = specification("decimals", Recording.FULL, RuleId.MEAN, 1, 1)
    ward = WardRound.deploy(chain, parties.sponsor)
    stage = Stage(ward, token, parties, spec, tmp_path / "store")
    stage.close(parties.first)
    chain.advance(7 * 24 * 3600)
    yield Paid(request.param, stage)
    stage.end()
    chain.close()


def test_commands_show_tokens(paid: Paid, call: Call) -> None:
    study, site, key = hex_of(paid.stage.study), paid.stage.sites[0].address, ["--key", "any.key"]
    claimed = call("claim", study, site, *paid.on, *key, "--store", "store").good
    assert f"paid {QUARTER[paid.decimals]} tokens to " in claimed
    again = call("claim", study, site, *paid.on, *key, "--store", "store").good
    assert f"nothing due ({QUARTER[paid.decimals]} tokens paid before)" in again
    stranger = paid.stage.contract.address
    unknown = call("claim", study, stranger, *paid.on, *key, "--store", "store").good
    assert "the study never admitted this site" in unknown
    held = paid.stage.contract.study(paid.stage.study).funded
    funded = call("study", "fund", study, "3", *paid.on, *key).good
    assert "paid in 3 tokens;" in funded
    now = paid.stage.contract.study(paid.stage.study).funded
    assert now - held == 3 * 10**paid.decimals
    too_fine = "0." + "0" * paid.decimals + "1"
    refused = call("study", "fund", study, too_fine, *paid.on, *key)
    assert refused.status != 0
    assert f"which has {paid.decimals}" in " ".join(refused.err.split())
    assert paid.stage.contract.study(paid.stage.study).funded == now


def test_explorer_shows_tokens(paid: Paid, call: Call, tmp_path: Path) -> None:
    stage, site = paid.stage, paid.stage.sites[0].address
    study, key = hex_of(stage.study), ["--key", "any.key"]
    assert call("claim", study, site, *paid.on, *key, "--store", "store").status == 0
    source = Source(
        "test", stage.chain, stage.contract, Court(stage.contract), stage.store, 0, False
    )
    indexer = Indexer(source, tmp_path / "index")
    indexer.catch_up()
    indexer.close()
    reader = Reader(tmp_path / "index")
    try:
        explorer = Explorer(reader, source)
        quarter, whole = QUARTER[paid.decimals], WHOLE[paid.decimals]
        # Among an overview's words are the latest events, each in a sentence.
        pages = [
            (overview_page(explorer), [f">{quarter}<", f">{whole}<", f"{whole} tokens from 0x"]),
            (study_page(explorer, study), [f">{quarter}<", f"{whole} funded"]),
            (site_page(explorer, site.lower(), None), [f">{quarter}<"]),
            (round_page(explorer, study, 1, None), [f">{quarter}<", f">{whole}<"]),
        ]
        for page, shown in pages:
            for words in shown:
                assert words in page.decode()
        drawn = [one for one in picture(reader, None, time.time()) if hasattr(one, "columns")]
        cells = {str(cell) for table in drawn for column in table.columns for cell in column.cells}
        assert {quarter, whole} <= cells
    finally:
        reader.close()
