"""A study in miniature: a chain, a store, two coordinators, an auditor and a few sites.

The sites are real ones, guards included, that train real models; only the tables are made up, and
nothing travels. Their contributions to a round are always the same, so that a round that was
overturned can be closed again from them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from weakref import finalize

from eth_account import Account
from eth_account.signers.local import LocalAccount

from wardround.audit.folders import Folders
from wardround.chain.chain import Chain
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.learning.datasets.generated import Generated
from wardround.learning.datasets.table import SiteData
from wardround.learning.initial import initial_model
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.facts import StudyFacts
from wardround.protocol.fixed_point import Int32Vector, vector_bytes, vector_from_bytes
from wardround.protocol.identifiers import SiteAddress, StudyId
from wardround.protocol.messages import VECTOR_DTYPE, VECTOR_FORMAT, TrainReply, TrainTask
from wardround.protocol.record import Recording, RuleId, StudyParams
from wardround.protocol.study import StudySpec
from wardround.store import FolderStore
from wardround_client.guard.approvals import Approval, Approvals
from wardround_client.guard.guard import Guard
from wardround_client.settings import PolicyTable
from wardround_client.trainer.local import LocalTrainer
from wardround_coordinator.session import RoundOutcome, Session, StudyPosition
from wardround_coordinator.sponsoring import fund_new_study, publish
from wardround_coordinator.verification import RawVector, Reply
from wardround_simulations.network import begin_study
from wardround_simulations.sites import Party, make_site

SITES, ROWS, FEATURES = 4, 24, 600
REWARD, BOND, DEPOSIT = 100 * 10**18, 50 * 10**18, 5 * 10**18
ROUND_SECONDS, GRACE_SECONDS, REGISTRATION_SECONDS = 3600, 600, 600
DEMAND_SECONDS, CHALLENGE_SECONDS, OBJECTION_SECONDS = 1800, 86_400, 600
_SEED = 11


@dataclass(frozen=True)
class Parties:
    """Accounts that send transactions; they play in every study."""

    sponsor: LocalAccount
    first: LocalAccount
    standby: LocalAccount
    auditor: LocalAccount

    @classmethod
    def new(cls) -> Parties:
        """Make keys."""
        return cls(*(Account.create() for _ in range(4)))

    @property
    def addresses(self) -> list[str]:
        """Accounts that need money for gas."""
        return [one.address for one in (self.sponsor, self.first, self.standby, self.auditor)]


def _end(guards: Sequence[Guard], homes: TemporaryDirectory[str]) -> None:
    for guard in guards:
        guard.close()
    homes.cleanup()


class Stage:
    """One study, ready for its first round."""

    def __init__(
        self,
        contract: WardRound,
        token: StudyToken,
        parties: Parties,
        spec: StudySpec,
        folder: Path,
        auditors: Sequence[LocalAccount] = (),
    ) -> None:
        """Create, fund and open the study; `auditors` attest besides the one of the parties."""
        self.contract, self.token, self.parties, self.spec = contract, token, parties, spec
        self.auditors = [parties.auditor, *auditors]
        self.chain: Chain = contract.chain
        self.store = FolderStore(folder)
        self._guards: list[Guard] = []
        initial = initial_model(spec)
        publish(spec, initial, self.store)
        coordinators = [parties.first, parties.standby]
        self.params: StudyParams = fund_new_study(
            contract,
            token,
            parties.sponsor,
            spec,
            initial,
            [one.address for one in coordinators],
            [one.address for one in self.auditors],
        )
        homes = TemporaryDirectory(prefix="wardround-sites-")
        # Ends with the stage at the latest.
        self.end = finalize(self, _end, self._guards, homes)
        folders = Folders(Path(homes.name))
        self.hospitals = [Party(data.name, Account.create(), data) for data in _tables()]
        addresses = [party.account.address for party in self.hospitals]
        begin_study(contract, token, self.params, parties.sponsor, coordinators, addresses, ROWS)
        self.sites = [self._site(folders, party) for party in self.hospitals]

    @property
    def study(self) -> StudyId:
        """The study's id."""
        return self.params.study_id

    @property
    def facts(self) -> StudyFacts:
        """The study's facts, read from the chain."""
        return self.contract.facts(self.study)

    def session(
        self,
        coordinator: LocalAccount,
        wait: Callable[[float], None] | None = None,
        say: Callable[[str], None] = lambda words: None,
    ) -> Session:
        """An honest coordinator at work."""
        wait = wait or self._let_pass
        return Session(self.contract, coordinator, self.store, self.facts, wait=wait, say=say)

    def close(self, coordinator: LocalAccount) -> RoundOutcome:
        """Run the open round honestly."""
        session = self.session(coordinator)
        position = session.position()
        sent = self.collect(position)
        asked = {node: site.address for node, site in enumerate(self.sites)}
        return session.run_round(
            position, asked, ((node, _reply(*sent[address])) for node, address in asked.items())
        )

    def collect(
        self, position: StudyPosition
    ) -> Mapping[SiteAddress, tuple[TrainReply, Int32Vector]]:
        """Let every site train and sign for the open round."""
        task = TrainTask(
            self.params, position.previous, position.round, canonical_bytes(self.spec.document())
        )
        base = vector_from_bytes(position.base.data, self.params.parameter_count)
        return {site.address: site.train(task, base) for site in self.sites}

    # ---------------------------------------------------------------- inside

    def _let_pass(self, seconds: float) -> None:
        # The chain is a development chain of this stage's own, where no other party acts meanwhile.
        self.chain.advance(max(math.ceil(seconds), REGISTRATION_SECONDS))

    def _site(self, folders: Folders, party: Party) -> Guard:
        chain = self.contract.chain.chain_id
        policy = PolicyTable(accept_solvable=[self.spec.study.name])
        home = make_site(folders, party, self.contract, policy, now=0)
        key, address = bytes(party.account.key), SiteAddress(party.account.address)
        contract, rows = self.contract.address.lower(), len(party.data.train)
        parties = self.contract.created(self.study).parties
        approval = Approval(chain, contract, self.params, parties, self.spec, 0, rows, None)
        Approvals(home.approvals, address).give(approval, key)
        # A clock that stops: a contribution repeats to the byte.
        guard = Guard(home, key, lambda: 0, LocalTrainer(), clock=lambda: 0.0)
        self._guards.append(guard)
        return guard


def specification(
    name: str, recording: Recording, rule: RuleId, rounds: int, quorum: int
) -> StudySpec:
    """A study with a model of a few chunks; by the clipped mean, it pays by scores."""
    scoring = "projection" if rule is RuleId.CLIPPED_MEAN else "examples"
    value: dict[str, Any] = {
        "study": {"name": name, "rounds": rounds, "seed": _SEED},
        "model": {"name": "logistic", "arguments": {"features": FEATURES}},
        "training": {"learning_rate": 0.1, "batch_size": 0, "local_steps": 1},
        "aggregation": {
            "rule": rule.name.lower(),
            "trim": int(rule is RuleId.TRIMMED_MEAN),
            "hostile": int(rule is RuleId.MULTI_KRUM),
            "min_sites": 3,
        },
        "rewards": {"per_round": str(REWARD), "scoring": scoring},
        "chain": {
            "recording": recording.name.lower(),
            "bond": str(BOND),
            "deposit": str(DEPOSIT),
            "challenge_seconds": CHALLENGE_SECONDS,
            "objection_seconds": OBJECTION_SECONDS,
            "round_seconds": ROUND_SECONDS,
            "grace_seconds": GRACE_SECONDS,
            "registration_seconds": REGISTRATION_SECONDS,
            "demand_seconds": DEMAND_SECONDS,
            "auditor_quorum": quorum,
        },
    }
    return StudySpec.model_validate(value)


def _tables() -> tuple[SiteData, ...]:
    source = Generated(sites=SITES, rows=ROWS, test_rows=1, features=FEATURES, seed=_SEED)
    return source.load(data_dir=None).sites


def _reply(delivery: TrainReply, update: Int32Vector) -> Reply:
    vector = RawVector(VECTOR_DTYPE, VECTOR_FORMAT, vector_bytes(update))
    return Reply(delivery.fields(), vector)
