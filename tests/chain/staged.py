"""Studies with real sites on an embedded chain, for tests of the court and of auditors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount

from wardround.chain.chain import Chain
from wardround.chain.court import Court
from wardround.chain.court_reader import Contested
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.devchain.embedded import EmbeddedChain
from wardround.devchain.evm import Genesis
from wardround.protocol.record import Recording, RuleId
from wardround_simulations.accusations import Accused
from wardround_simulations.stage import BOND, REWARD, Parties, Stage, specification

GENESIS_SECONDS = 1_760_000_000
_ETHER = 10**18


@dataclass
class Theatre:
    """A chain with the contract, on which studies are put."""

    chain: Chain
    parties: Parties
    folder: Path
    ward: WardRound
    token: StudyToken
    #: An account with money for gas and no part in any study.
    stranger: LocalAccount
    stages: list[str] = field(default_factory=list)

    @property
    def court(self) -> Court:
        return Court(self.ward)

    def stage(
        self,
        recording: Recording = Recording.ROOT,
        rule: RuleId = RuleId.MEAN,
        rounds: int = 3,
        quorum: int = 0,
        auditors: Sequence[LocalAccount] = (),
    ) -> Stage:
        name = f"staged-{len(self.stages)}"
        self.stages.append(name)
        spec = specification(name, recording, rule, rounds, quorum)
        folder = self.folder / name
        return Stage(self.ward, self.token, self.parties, spec, folder, auditors)

    def contested(self, stage: Stage, number: int) -> Contested:
        """A round as it is closed; not the first."""
        closed = self.ward.closed_rounds(stage.study)
        return Contested(
            stage.study, number, closed[number - 1].closing, closed[number - 2].closing
        )

    def accused(self, stage: Stage, number: int) -> Accused:
        count = stage.params.parameter_count
        contested = self.contested(stage, number)
        return Accused.of(self.court, contested, stage.spec.rule, count, stage.store)


@contextmanager
def theatre(folder: Path, studies: int = 60) -> Iterator[Theatre]:
    parties, stranger = Parties.new(), Account.create()
    balances = dict.fromkeys([*parties.addresses, stranger.address], 10_000 * _ETHER)
    name = f"theatre-{parties.sponsor.address}"
    chain = EmbeddedChain(name, Genesis(31337, GENESIS_SECONDS, balances))
    supply = studies * (4 * REWARD + 2 * BOND) + 30 * BOND
    token = StudyToken.deploy(chain, parties.sponsor, supply)
    # For deposits, of which many stay with studies that are left in the middle.
    for one in (parties.auditor, parties.standby, stranger):
        token.transfer(parties.sponsor, one.address, 10 * BOND)
    ward = WardRound.deploy(chain, parties.sponsor)
    yield Theatre(chain, parties, folder, ward, token, stranger)
    chain.close()
