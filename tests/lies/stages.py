"""A study on an embedded chain whose parties' keys are files, for tests of command lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.evm import Genesis
from wardround.devchain.faucet import DEV_CHAIN_ID, ETHER, FAUCET, balances_of
from wardround.host.durable import write_private
from wardround.protocol.record import Recording, RuleId
from wardround_simulations.stage import Parties, Stage, specification


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """A study of one closed round; the keys of its parties are files of the folder."""
    genesis = Genesis(DEV_CHAIN_ID, int(time.time()), balances_of([]))
    chain = EmbeddedChain(f"options-{folder.name}", genesis)
    parties = Parties.new()
    for account in parties.addresses:
        chain.transfer(FAUCET, account, 100 * ETHER)
    for name in ("sponsor", "first", "standby", "auditor"):
        write_private(folder / f"{name}.key", getattr(parties, name).key.hex())
    token = StudyToken.deploy(chain, parties.sponsor, 10**22)
    ward = WardRound.deploy(chain, parties.sponsor)
    spec = specification("options", Recording.FULL, RuleId.MEAN, 3, 1)
    made = Stage(ward, token, parties, spec, folder / "whole")
    for one in (parties.auditor, parties.standby):
        token.transfer(parties.sponsor, one.address, 10**21)
    (folder / "elsewhere").mkdir()
    made.close(parties.first)
    yield made
    made.end()
    chain.close()
