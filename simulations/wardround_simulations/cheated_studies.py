"""Two studies in which parties try what they may not: one on chain alone, one from begin to end.

Each is moved on a step at a time; `early_misdeeds` and `later_misdeeds` list what is tried behind
which step. What is refused changes nothing, and in the end all money has to be where it belongs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

from wardround.audit.auditor import Auditor
from wardround.audit.claims import round_entries
from wardround.audit.collection import close_lapsed
from wardround.chain.court_reader import Contested
from wardround.chain.errors import ContractReverted
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.protocol.attestation import Attestation
from wardround.protocol.contribution import Entry
from wardround.protocol.identifiers import Digest, SiteAddress, StudyId
from wardround.protocol.merkle import vector_root
from wardround.protocol.record import Closing, StudyParams, StudyParties, genesis_closing
from wardround.protocol.rewards import Earning
from wardround_simulations.accusations import Accused
from wardround_simulations.refusals import RecordedEscrow, RepeatingCourt, RepeatingWard
from wardround_simulations.stage import OBJECTION_SECONDS, ROWS, Parties, Stage

#: So much less than an int32 that no round could hold it.
BOUND = 1_000
_NOTHING_DUE = ("WardRound_NothingDue", "Court_NothingDue", "Court_NotRegistered")


class CheatedStudy:
    """A study with its parties' keys, and the contracts as they try them."""

    def __init__(
        self, contract: WardRound, token: StudyToken, parties: Parties, params: StudyParams
    ) -> None:
        self.ward = RepeatingWard(contract.chain, contract.address)
        self.court = RepeatingCourt(self.ward)
        self.escrow = RecordedEscrow(contract.chain, contract.escrow_of(params.study_id))
        self.sent = self.court.sent = self.escrow.sent = self.ward.sent
        self.chain = contract.chain
        self.token, self.parties, self.params = token, parties, params

    @property
    def study(self) -> StudyId:
        """The study's id."""
        return self.params.study_id

    @property
    def last(self) -> Closing:
        """What closed the last round so far; before round 1, the study's beginning."""
        return self.ward.last_closing(self.study)

    def worth(self, account: LocalAccount) -> int:
        """The tokens of an account, and those that the study owes it."""
        return self.token.balance_of(account.address) + self.ward.owed(self.study, account.address)

    def is_right(self) -> bool:
        """Whether nothing is left where every party has taken what is its own."""
        return self.token.balance_of(self.escrow.address) == 0

    def settle(self) -> None:
        """Let the sponsor, the coordinators and auditors take what is theirs, as they may."""
        ward, parties, study, last = self.ward, self.parties, self.study, self.last
        for coordinator in (parties.first, parties.standby):
            if ward.seat(study, coordinator.address).bonded:
                ward.release_bond(coordinator, study, last)
        with nothing_due():
            ward.refund(parties.sponsor, study, last)
        for account in self.creditors():
            with nothing_due():
                ward.collect(parties.sponsor, study, account)

    def creditors(self) -> list[str]:
        """Accounts that the study may owe something."""
        return self.parties.addresses


@contextmanager
def nothing_due() -> Iterator[None]:
    """Let pass what pays nothing, because it was paid before or nothing was earned."""
    try:
        yield
    except ContractReverted as error:
        if error.name not in _NOTHING_DUE:
            raise


class EarlyStudy(CheatedStudy):
    """A study on chain alone: its sites are keys, nothing is trained, and no round is closed."""

    def __init__(
        self,
        contract: WardRound,
        token: StudyToken,
        parties: Parties,
        like: StudyParams,
        name: str,
        base: bytes,
    ) -> None:
        """Prepare one like another, but for its specification and a bound that is soon reached.

        Args:
            like: the other study's parameters.
            name: tells it from others.
            base: the initial model, as vectors are stored.
        """
        self.base = base
        lists = [parties.first.address, parties.standby.address], [parties.auditor.address]
        self.lists = StudyParties.of(*lists)
        params = replace(
            like,
            auditor_quorum=1,
            lifetime_seconds=like.challenge_seconds,
            update_bound=BOUND,
            specification=Digest(keccak(text=name)),
            parties=self.lists.digest,
        )
        super().__init__(contract, token, parties, params)
        # One more than a round needs, so that it can be left out.
        self.sites = [Account.create() for _ in range(params.min_sites + 1)]
        self.removed: LocalAccount = Account.create()

    def create(self) -> None:
        """Create it: nothing is paid in."""
        self.ward.create_study(self.parties.sponsor, self.params, self.lists)

    def pay(self) -> None:
        """Pay in what its rounds can earn."""
        params = self.params
        a_round = params.reward_per_round + params.closing_fee + params.attesting_fee
        self.token.approve(self.parties.sponsor, self.ward.address, params.rounds * a_round)
        self.ward.fund(self.parties.sponsor, self.study, params.rounds * a_round)

    def admit(self) -> None:
        """Admit its sites, and one more that is removed again."""
        sponsor = self.parties.sponsor
        for site in (*self.sites, self.removed):
            self.ward.admit_site(sponsor, self.study, site.address, site.address, ROWS)
        self.ward.remove_site(sponsor, self.study, self.removed.address)

    def begin(self) -> None:
        """Post the bonds and open round 1."""
        for coordinator in (self.parties.first, self.parties.standby):
            self.token.transfer(self.parties.sponsor, coordinator.address, self.params.bond)
            self.token.approve(coordinator, self.ward.address, self.params.bond)
            self.ward.post_bond(coordinator, self.study)
        self.ward.open_study(self.parties.sponsor, self.study)

    def another(self, name: str) -> EarlyStudy:
        """Open another one, with other sites."""
        other = EarlyStudy(self.ward, self.token, self.parties, self.params, name, self.base)
        for step in (other.create, other.pay, other.admit, other.begin):
            step()
        return other

    def pass_cut_off(self) -> None:
        """Let the time pass in which sites can register."""
        self.chain.advance(self.params.registration_seconds)

    def entry(self, site: LocalAccount, weight: int = 1, coordinate: int = 0) -> Entry:
        """What a site signs for round 1: an update of one coordinate that is not zero."""
        update = vector_root(self.update(coordinate))
        entry = Entry(SiteAddress(site.address), weight, update, Digest(bytes(32)), b"")
        statement = entry.contribution(self.study, 1, self.params.initial_model)
        return replace(entry, signature=statement.sign(self.ward.domain, bytes(site.key)))

    def update(self, coordinate: int) -> bytes:
        """An update whose first coordinate has a value, as vectors are stored."""
        return coordinate.to_bytes(4, "little", signed=True).ljust(len(self.base), b"\0")

    def register(self, entry: Entry, number: int = 1) -> None:
        """Put an entry on chain, from an account that pays for gas and deposit."""
        sender = self.parties.auditor
        self.court.approve_deposit(sender, self.study)
        self.ward.register(sender, self.study, number, self.last, entry)

    def settle(self) -> None:
        """Let every party take what is its own; first who registered contributions."""
        start = genesis_closing(self.params.initial_model).commitment
        for site in self.sites:
            with nothing_due():
                self.court.close_contribution(
                    self.parties.auditor, self.study, 1, start, site.address
                )
        super().settle()


class LaterStudy(CheatedStudy):
    """A study whose sites train, with a quorum of two auditors and fees, that holds all over."""

    def __init__(
        self, stage: Stage, auditor: Auditor, colleague: LocalAccount, rounds: int
    ) -> None:
        super().__init__(stage.contract, stage.token, stage.parties, stage.params)
        self.stage, self.auditor, self.colleague, self.rounds = stage, auditor, colleague, rounds

    @property
    def contested(self) -> Contested:
        """The last closed round."""
        before = genesis_closing(self.params.initial_model)
        closings = [before, *(one for _, one in self.ward.closings(self.study))]
        return Contested(self.study, len(closings) - 1, closings[-1], closings[-2])

    @property
    def accused(self) -> Accused:
        """The last closed round, with all that the store has of it."""
        count = self.params.parameter_count
        return Accused.of(self.court, self.contested, self.stage.spec.rule, count, self.stage.store)

    def close(self) -> None:
        """Close the open round honestly."""
        self.stage.close(self.parties.first)
        self.auditor.step()

    def wait_for_objections(self) -> None:
        """Let the time pass in which every account can object."""
        self.chain.advance(OBJECTION_SECONDS)

    def attest(self) -> None:
        """Make the last closed round final by both auditors."""
        contested = self.contested
        where = (self.study, contested.round, contested.closing)
        signatures = dict([self.signed(self.parties.auditor), self.signed(self.colleague)])
        self.ward.attest(self.parties.auditor, *where, signatures)

    def close_the_rest(self) -> None:
        """Close the rounds that are left."""
        while self.ward.study(self.study).head <= self.rounds:
            self.close()

    def end(self) -> None:
        """Let the auditor answer what is demanded, and all windows pass."""
        self.auditor.step()
        self.chain.advance(4 * self.params.challenge_seconds + 3 * self.params.demand_seconds)
        self.auditor.step()

    def signed(self, account: LocalAccount, record: bytes | None = None) -> tuple[str, bytes]:
        """An attestation of the last closed round, or of another record, by an account."""
        contested = self.contested
        statement = Attestation(self.study, contested.round, record or contested.closing.commitment)
        return account.address, statement.sign(self.ward.domain, bytes(account.key))

    def earning(self, site: int, number: int = 1) -> Earning:
        """A site's entry in a closed round, as it claims it."""
        closing = dict(self.ward.closings(self.study))[number]
        shown = round_entries(self.ward, self.study, self.stage.store, number, closing)
        found = shown.earning(self.address(site))
        assert found is not None
        return found

    def address(self, site: int) -> SiteAddress:
        """A site's address, by its place."""
        return SiteAddress(self.stage.hospitals[site].account.address)

    def settle(self) -> None:
        """Let every party take what is its own: first the sites, then the coordinator."""
        payer, numbers = self.parties.auditor, range(1, self.rounds + 1)
        for site in range(len(self.stage.hospitals)):
            address = self.address(site)
            due = [one for one in numbers if not self.ward.is_paid(self.study, one, address)]
            if due:
                self.ward.claim(payer, self.study, address, [self.earning(site, n) for n in due])
        for number, closing in self.ward.closings(self.study):
            with nothing_due():
                self.ward.claim_fee(payer, self.study, number, closing)
        list(close_lapsed(self.court, payer, self.study, self.parties.first.address))
        super().settle()

    def creditors(self) -> list[str]:
        """Accounts that the study may owe something."""
        return [*super().creditors(), self.colleague.address]
