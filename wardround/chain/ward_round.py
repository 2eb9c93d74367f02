"""The WardRound contract in Python: every entry point, typed; `study_reader` has the views.

Each method that sends may be called again after any failure: it asks the chain first whether its
effect is there, and then sends nothing and returns None.

Source:
    IWardRound.sol
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from eth_account.signers.local import LocalAccount

from wardround.chain.blocks import Receipt
from wardround.chain.bound import deploy_artifact
from wardround.chain.chain import Chain, connected
from wardround.chain.contract import created_address
from wardround.chain.events import RoundClosed
from wardround.chain.known_code import known_contract
from wardround.chain.study_reader import StudyReader
from wardround.chain.study_state import STILL_MEMBER, ClosedOnChain
from wardround.chain.study_token import StudyToken
from wardround.protocol.contribution import (
    Entry,
    contributions_root,
    pack_entries,
    total_weight,
)
from wardround.protocol.facts import StudyFacts
from wardround.protocol.identifiers import StudyId, address_of, hex_of
from wardround.protocol.record import Closing, Record, Recording, StudyParams, StudyParties
from wardround.protocol.rewards import Earning


class WardRound(StudyReader):
    """The contract at an address; a new one (`deploy`) has no owner."""

    @classmethod
    def deploy(
        cls, chain: Chain, signer: LocalAccount, created: Callable[[str], None] = lambda one: None
    ) -> WardRound:
        """Deploy a court and a contract that name each other from their constructors on.

        The court is deployed first and names the address that follows from the signer's next nonce;
        WardRound's constructor refuses a court that names another, and creates the escrow that
        those of all studies are clones of. Each has an annex, deployed just before it, with the
        code that it has no room for. Each is a transaction of its own, so that none needs more
        gas than a small block holds.

        Args:
            chain: where to.
            signer: pays for gas; has no power over the contracts.
            created: hears the hashes of the transactions that create the court and the WardRound.
                An annex has no storage of its own, so its code proves it.

        Raises:
            ContractReverted: another transaction of the signer came in between; deploy again.
        """
        nonce = chain.transaction_count(signer.address)
        ward = created_address(signer.address, nonce + 3)
        annex, _ = deploy_artifact(chain, signer, "CourtAnnex", ward)
        court, transaction = deploy_artifact(chain, signer, "Court", ward, annex)
        created(transaction)
        annex, _ = deploy_artifact(chain, signer, "WardRoundAnnex")
        address, transaction = deploy_artifact(chain, signer, cls.ARTIFACT, court, annex)
        created(transaction)
        return cls(chain, address)

    @classmethod
    @contextmanager
    def at(cls, url: str, chain_id: int | None, contract: str) -> Iterator[WardRound]:
        """Connect to a chain for a block, and open the contract at an address.

        Raises:
            ChainError: no endpoint answers, or one serves another chain.
            UnknownContract: its code is not known.
            Malformed: this is no address.
        """
        address = address_of(contract)
        with connected(url, chain_id) as chain:
            yield cls.opened(chain, address)

    @classmethod
    def opened(cls, chain: Chain, address: str) -> WardRound:
        """Open the contract at an address, if its code is known.

        Raises:
            UnknownContract: its code is not known.
            ChainUnreachable: no answer.
        """
        return cls(chain, known_contract(chain, address).address)

    # ---------------------------------------------------------------- study

    def create_study(
        self, sponsor: LocalAccount, params: StudyParams, parties: StudyParties
    ) -> Receipt | None:
        """Create a study; its id is ``params.study_id``, which names its parties."""
        study = params.study_id
        lists = list(parties.coordinators), list(parties.auditors)
        call = self._call("createStudy", params.abi(), *lists)
        return self._send(
            sponsor, call, f"create study {hex_of(study)}", lambda: self.exists(study)
        )

    def fund(self, signer: LocalAccount, study: StudyId, amount: int) -> Receipt | None:
        """Pay into a study what the signer has approved. Not while others fund it too."""
        enough = self.study(study).funded + amount
        call = self._call("fund", study, amount)
        return self._send(
            signer, call, f"fund study {hex_of(study)}", lambda: self.study(study).funded >= enough
        )

    def admit_site(
        self, sponsor: LocalAccount, study: StudyId, site: str, payout: str, max_weight: int
    ) -> Receipt | None:
        """Admit a site from the round being worked on."""

        def admitted() -> bool:
            slot = self.site(study, site)
            return (slot.payout, slot.max_weight, slot.until) == (payout, max_weight, STILL_MEMBER)

        call = self._call("admitSite", study, site, payout, max_weight)
        return self._send(sponsor, call, f"admit site {site}", admitted)

    def remove_site(self, sponsor: LocalAccount, study: StudyId, site: str) -> Receipt | None:
        """Remove a site from the next round on."""
        call = self._call("removeSite", study, site)
        return self._send(
            sponsor,
            call,
            f"remove site {site}",
            lambda: 0 < self.site(study, site).until < STILL_MEMBER,
        )

    def change_payout(
        self, sender: LocalAccount, study: StudyId, site: str, to: str, signature: bytes = b""
    ) -> Receipt | None:
        """Have a site's rewards paid to another address.

        Args:
            sender: the present payout address, or any account with its signature.
            signature: of a `PayoutChange`.
        """
        call = self._call("changePayout", study, site, to, signature)
        return self._send(
            sender, call, f"pay {site} at {to}", lambda: self.site(study, site).payout == to
        )

    def post_bond(self, coordinator: LocalAccount, study: StudyId) -> Receipt | None:
        """Deposit the bond that the coordinator has approved."""
        call = self._call("postBond", study)
        return self._send(
            coordinator, call, "post bond", lambda: self.seat(study, coordinator.address).bonded
        )

    def open_study(self, sponsor: LocalAccount, study: StudyId) -> Receipt | None:
        """Open round 1."""
        call = self._call("openStudy", study)
        return self._send(
            sponsor,
            call,
            f"open study {hex_of(study)}",
            lambda: self._happened("StudyOpened", study),
        )

    def end_study(self, signer: LocalAccount, study: StudyId) -> Receipt | None:
        """End a study after its rounds so far: its sponsor, or any account after its deadline."""
        call = self._call("endStudy", study)
        return self._send(
            signer, call, f"end study {hex_of(study)}", lambda: self._happened("StudyEnded", study)
        )

    # ---------------------------------------------------------------- rounds

    def close_round(
        self,
        coordinator: LocalAccount,
        facts: StudyFacts,
        round_number: int,
        record: Record,
        previous: Closing,
        entries: Sequence[Entry],
    ) -> ClosedOnChain:
        """Close a round, with full or root recording as the study asks.

        Args:
            coordinator: the active one.
            facts: of the study.
            round_number: the open round; its cohort is locked where the study wants that.
            record: what the round commits to.
            previous: the closing of the round before.
            entries: sorted by site; they reach the chain only under full recording, and with the
                lock where there is one.

        Returns:
            The round as the chain has it, also when it had this record before.
        """
        study = facts.study

        def standing() -> RoundClosed | None:
            # The cheapest question first: it is asked before every closing.
            if self.commitment(study, round_number) == bytes(32):
                return None
            if self.study(study).head <= round_number:
                return None
            event = self._last_closing(study, round_number)
            return event if event is not None and event.closing.record == record else None

        packed: bytes | None = None
        call = self._call("closeRoundRoot", study, round_number, record.abi())
        if facts.params.recording is Recording.FULL:
            packed = pack_entries(entries)
        if packed is not None and not facts.params.locked_cohort:
            call = self._call(
                "closeRound", study, round_number, record.abi(), previous.abi(), packed
            )
        receipt = self._send(
            coordinator, call, f"close round {round_number}", lambda: standing() is not None
        )
        if receipt is None:
            return self._closed(study, round_number, standing())
        (event,) = (one for one in self.events_of(receipt) if isinstance(one, RoundClosed))
        return ClosedOnChain(
            round_number,
            event.closing,
            packed,
            receipt.transaction_hash,
            receipt.block_number,
            receipt.gas_used,
        )

    def lock_cohort(
        self,
        coordinator: LocalAccount,
        facts: StudyFacts,
        round_number: int,
        previous: Closing,
        entries: Sequence[Entry],
    ) -> Receipt | None:
        """Lock the open round's cohort, with full or root recording as the study asks.

        Args:
            As `close_round`.
        """
        study = facts.study
        cohort = contributions_root(entries), len(entries), total_weight(entries)
        call = self._call("lockCohortRoot", study, round_number, cohort)
        if facts.params.recording is Recording.FULL:
            packed = pack_entries(entries)
            call = self._call("lockCohort", study, round_number, cohort, previous.abi(), packed)
        return self._send(
            coordinator,
            call,
            f"lock the cohort of round {round_number}",
            lambda: self.locked_cohort(study, round_number) is not None,
        )

    def contribute(
        self,
        signer: LocalAccount,
        study: StudyId,
        round_number: int,
        previous: Closing,
        entry: Entry,
    ) -> Receipt | None:
        """Register a site's signed contribution for the open round, so that it must be included.

        Args:
            signer: any account; pays for gas, and the study's deposit, which goes back once the
                update was shown or its round is closed.
            study: the study.
            round_number: the open round.
            previous: the closing of the round before.
            entry: as the site signed it; the first one a site and round counts.
        Raises:
            TransactionRefused: the signer holds fewer tokens than the deposit.
        """

        def registered() -> bool:
            where = (study, round_number, previous.commitment, entry.site)
            return int(self._ask("registration", *where)[2]) > 0

        call = self._call("contribute", study, round_number, previous.abi(), entry.pack())
        if registered():
            return None
        state = self.study(study)
        token = StudyToken(self.chain, state.token)
        token.require(signer.address, state.deposit)
        token.approve(signer, self.address, state.deposit)
        return self._send(
            signer, call, f"register {entry.site} for round {round_number}", registered
        )

    def attest(
        self,
        signer: LocalAccount,
        study: StudyId,
        round_number: int,
        closing: Closing,
        signatures: Mapping[str, bytes],
    ) -> Receipt | None:
        """Make every round up to this one final.

        Args:
            signer: pays for gas; any account.
            study: the study.
            round_number: a closed round.
            closing: its closing.
            signatures: of an `Attestation`, by auditor; a contract's are as it accepts them
                (ERC-1271).
        """
        ordered = sorted(signatures.items(), key=lambda one: one[0].lower())
        call = self._call("attest", study, round_number, closing.abi(), ordered)
        return self._send(
            signer,
            call,
            f"attest round {round_number}",
            lambda: self.study(study).final_through >= round_number,
        )

    def take_over(self, standby: LocalAccount, study: StudyId) -> Receipt | None:
        """Become the active coordinator."""
        call = self._call("takeOver", study)
        return self._send(
            standby, call, "take over", lambda: self.study(study).coordinator == standby.address
        )

    # ---------------------------------------------------------------- money

    def claim(
        self,
        signer: LocalAccount,
        study: StudyId,
        site: str,
        earnings: Sequence[Earning],
    ) -> Receipt | None:
        """Pay a site its shares of final rounds, each once; any account may send it."""
        call = self._call("claim", study, site, [one.abi() for one in earnings])
        return self._send(
            signer,
            call,
            f"claim for {site}",
            lambda: (
                bool(earnings) and all(self.is_paid(study, one.round, site) for one in earnings)
            ),
        )

    def release_bond(
        self, coordinator: LocalAccount, study: StudyId, closing: Closing
    ) -> Receipt | None:
        """Take the bond back; `closing` is that of the last round."""
        call = self._call("releaseBond", study, closing.abi())
        return self._send(
            coordinator,
            call,
            "release bond",
            lambda: (
                not self.seat(study, coordinator.address).bonded
                and self._happened("BondReleased", study, coordinator.address)
            ),
        )

    def claim_fee(
        self, signer: LocalAccount, study: StudyId, round_number: int, closing: Closing
    ) -> Receipt | None:
        """Pay a final round's closing fee to who closed it."""
        call = self._call("claimFee", study, round_number, closing.abi())
        return self._send(
            signer,
            call,
            f"claim the fee of round {round_number}",
            lambda: self.is_fee_paid(study, round_number),
        )

    def refund(self, signer: LocalAccount, study: StudyId, closing: Closing) -> Receipt | None:
        """Return to the sponsor what no round can pay any more; `closing` is that of the last."""
        before = self.study(study).refunded
        call = self._call("refund", study, closing.abi())
        return self._send(
            signer,
            call,
            f"refund study {hex_of(study)}",
            lambda: self.study(study).refunded > before,
        )

    def collect(self, signer: LocalAccount, study: StudyId, account: str) -> Receipt | None:
        """Pay out an account's part of bonds, its fees and deposits; None when nothing is owed."""
        call = self._call("collect", study, account)
        return self._send(
            signer, call, f"collect for {account}", lambda: self.owed(study, account) == 0
        )
