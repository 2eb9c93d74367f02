"""``wardround court ...``: prove a wrong round, answer demands, collect what they brought in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from wardround.audit.auditor import Auditor
from wardround.audit.collection import claim_fees, close_lapsed
from wardround.audit.commands import check_powers, print_notice
from wardround.audit.notices import Powers, SignedElsewhere
from wardround.audit.signatures import SignatureFolder
from wardround.chain.amounts import tokens_of
from wardround.chain.court import Court
from wardround.chain.court_events import ContributionDemanded, Demanded
from wardround.chain.court_reader import DemandStatus, RegistrationState
from wardround.chain.options import Sending, StudyOnChain, signature_of
from wardround.host.commands import Commands
from wardround.host.key_file import read_key
from wardround.host.screen import Screen, utc
from wardround.protocol.errors import SpecificationError
from wardround.protocol.identifiers import StudyId, address_of, hex_of
from wardround.protocol.record import ZERO_ADDRESS
from wardround.store.study_store import open_study_store

app = Commands(
    epilog="To do all of it as the study goes on: wardround audit STUDY --watch --challenge"
)
_out = Screen(highlight=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class Auditing(Sending):
    """Audits a study with its store, and sends what follows from it."""

    store: Annotated[str, typer.Option(help="Content store of the study.")]

    @contextmanager
    def auditor(self, powers: Powers) -> Iterator[Auditor]:
        """Open the study for an auditor."""
        with (
            self.opened() as (ward, study),
            closing(open_study_store(self.store, Path(), ward, study)) as objects,
        ):
            yield Auditor(ward, study, objects, powers)


@app.command()
def challenge(
    auditing: Auditing,
) -> None:
    """Replay every closed round once, and prove on chain what is wrong with one.

    It commits to a proof first, for the study's deposit, so that a copy earns nothing. What cannot
    be proven because data is not shown is demanded, for a deposit as well. Run it again after the
    deadline: a demand without an answer overturns the round. With an auditor's key, where one
    attestation is the quorum, it also attests what holds. Ends with 1 when a round does not hold.

    Example:
      wardround court challenge 0x5e1f… --chain http://127.0.0.1:8545 --contract 0x1234…
      --store ./store --key auditor.key
    """
    with auditing.auditor(Powers(read_key(auditing.key), challenge=True)) as auditor:
        _step(auditor, auditing.as_json)


@app.command()
def answer(
    auditing: Auditing,
) -> None:
    """Show on chain what is demanded and the store has; the account earns half of the deposits.

    Example:
      wardround court answer 0x5e1f… --chain http://127.0.0.1:8545 --contract 0x1234…
      --store ./store --key any.key
    """
    with auditing.auditor(Powers(read_key(auditing.key), answer=True)) as auditor:
        told = [one for one in auditor.step() if one.kind in ("answered", "refused")]
    for notice in told:
        print_notice(notice, auditing.as_json)
    if not told and not auditing.as_json:
        _out.print("no demand is open whose data is in this store")


@app.command()
def attest(
    auditing: Auditing,
    signatures: Annotated[
        Path | None, typer.Option(help="Folder that a quorum of auditors shares.")
    ] = None,
    auditor: Annotated[
        str | None, typer.Option(help="An auditor that signs elsewhere, such as a Safe.")
    ] = None,
    signature: Annotated[
        str | None, typer.Option(help="Its signature, hexadecimal; without it, what to sign.")
    ] = None,
    round_number: Annotated[
        int | None,
        typer.Option("--round", min=1, help="The round that it signed; by default the last."),
    ] = None,
) -> None:
    """Sign that all rounds hold, and make them final once a quorum of auditors has signed.

    The key is that of an auditor whom the study names. With --auditor it is any account's, which
    pays for gas: the rounds are replayed, and what the auditor has to sign is printed; with its
    --signature, which a contract gives too (ERC-1271), the attestation is sent.

    Examples:
      wardround court attest 0x5e1f… --chain http://127.0.0.1:8545 --contract 0x1234…
      --store ./store --key auditor.key --signatures shared

      wardround court attest 0x5e1f… --chain … --contract … --store … --key any.key
      --auditor 0xabcd… --round 3 --signature 0x77aa…
    """
    signer = read_key(auditing.key)
    elsewhere = None
    if auditor is not None:
        signed = None if signature is None else signature_of(signature)
        elsewhere = SignedElsewhere(address_of(auditor), signed, round_number)
        if signed is None and signatures is not None:
            raise typer.BadParameter("--signatures shares a signature: add --signature")
    elif signature is not None or round_number is not None:
        raise typer.BadParameter("--signature and --round go with --auditor: add its address")
    folder = None if signatures is None else SignatureFolder(signatures)
    powers = Powers(signer, signatures=folder, elsewhere=elsewhere)
    with auditing.auditor(powers) as work:
        check_powers(work.ward, work.study, powers)
        closed = dict(work.ward.closings(work.study))
        if round_number is not None and round_number not in closed:
            raise SpecificationError("--round", f"round {round_number} was not closed")
        _step(work, auditing.as_json)


@app.command()
def demands(
    where: StudyOnChain,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the demands for data that are open, with their deadlines.

    First those about closed rounds and locks, then a coordinator's of registered updates, which
    `site answer` shows. Those of overturned rounds are left out: no account can answer them, and
    `collect` returns their deposits.

    Example:
      wardround court demands 0x5e1f… --chain http://127.0.0.1:8545 --contract 0x1234…
    """
    with where.opened() as (ward, study):
        court, decimals, found = Court(ward), ward.decimals(study), 0
        now = ward.study(study)
        last = now.head if now.locked_by != ZERO_ADDRESS else now.head - 1
        for event in court.events(study):
            if not isinstance(event, Demanded):
                continue
            state = court.demand_of(event.demand)
            stored = ward.commitment(study, event.round)
            stands = event.round <= last and stored == state.commitment
            if state.status is not DemandStatus.OPEN or not stands:
                continue
            found += 1
            what = event.what.name.lower()
            earned = tokens_of(state.deposit - state.deposit // 2, decimals)
            if as_json:
                facts = {"demand": hex_of(event.demand), "round": event.round, "what": what}
                facts |= {"index": event.index, "deadline": state.deadline}
                print(json.dumps(facts | {"deposit": str(state.deposit)}))
                continue
            _out.print(
                f"round {event.round}: part {event.index} of its {what}, "
                f"until {utc(state.deadline)}; the answer earns {earned} tokens; "
                f"demand {hex_of(event.demand)}"
            )
        for event, standing in _of_registrations(court, study):
            found += 1
            payment = event.payment * standing.unanswered
            first, last, until = standing.shown, standing.demanded - 1, standing.deadline
            if as_json:
                facts = {"round": event.round, "what": "registration", "site": event.site}
                facts |= {"first": first, "last": last, "deadline": until}
                print(json.dumps(facts | {"payment": str(payment)}))
                continue
            _out.print(
                f"round {event.round}: chunks {first} to {last} of the update that {event.site} "
                f"registered, until {utc(until)}; showing them earns "
                f"{tokens_of(payment, decimals)} tokens"
            )
    if not found and not as_json:
        _out.print("no demand is open that can be answered")


def _of_registrations(
    court: Court, study: StudyId
) -> Iterator[tuple[ContributionDemanded, RegistrationState]]:
    """Find registrations of which bytes are demanded and can still be shown."""
    now, seen = court.chain.timestamp(), set[tuple[int, str, bytes]]()
    for event in court.events(study):
        if not isinstance(event, ContributionDemanded):
            continue
        where = event.round, event.site, event.previous
        if where in seen or event.previous != court.ward.commitment(study, event.round - 1):
            continue
        seen.add(where)
        state = court.standing(study, event.round, event.previous, event.site)
        if state.unanswered and now <= state.deadline:
            yield event, state


@app.command()
def collect(
    sending: Sending,
    account: Annotated[
        str | None, typer.Option(help="Whose; by default the key's own address.")
    ] = None,
) -> None:
    """Pay out what an account has earned: slashed bonds, roundings, answers, fees, deposits.

    Claims the closing fees of final rounds first, and ends what has lapsed where the deposit falls
    to the account: demands, tallies and commitments. The end of a demand that was not answered
    overturns the round if it is not final.

    Example:
      wardround court collect 0x5e1f… --chain http://127.0.0.1:8545 --contract 0x1234… --key my.key
    """
    with sending.signing() as (ward, study, signer):
        owner = signer.address if account is None else address_of(account)
        court, decimals = Court(ward), ward.decimals(study)
        earned = (claim_fees(ward, signer, study, owner), close_lapsed(court, signer, study, owner))
        for one in chain(*earned):
            words = f"{tokens_of(one.amount, decimals)} tokens go to {owner} {one.what}"
            sending.sent(one.receipt, words, account=owner, amount=str(one.amount))
        amount = ward.owed(study, owner)
        if not amount:
            if not sending.as_json:
                _out.print(f"{owner} has nothing to collect")
            return
        receipt = ward.collect(signer, study, owner)
        escrow = ward.escrow_of(study)
        words = f"paid {tokens_of(amount, decimals)} tokens to {owner} out of escrow {escrow}"
        sending.sent(receipt, words, account=owner, amount=str(amount), escrow=escrow)


def _step(auditor: Auditor, as_json: bool) -> None:
    """Let an auditor look once and print what it saw; end with 1 where a round does not hold."""
    notices = auditor.step()
    for notice in notices:
        print_notice(notice, as_json)
    if not notices and not as_json:
        _out.print("no round is closed: there is nothing to replay")
    if auditor.breaches:
        raise typer.Exit(1)
