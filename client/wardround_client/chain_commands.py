"""``wardround site claim``, ``contribute``, ``answer``, ``payout``: what a site sends to the chain.

None of them needs the coordinator. Any account may pay for the gas: the site's own key, out of its
keystore, or another one, so that a hospital need not hold the chain's currency. Only the payout
address itself can name another one, by a transaction or by a signature that another account sends.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wardround.host.screen import Screen
from wardround_client.options import JsonOption, Paying
from wardround_client.password import password_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from eth_account.signers.local import LocalAccount

    from wardround.chain.blocks import Receipt
    from wardround.chain.court import Court
    from wardround.chain.errors import ChainError
    from wardround.chain.events import Registered
    from wardround.chain.ward_round import WardRound
    from wardround.protocol.contribution import Entry
    from wardround.protocol.errors import SpecificationError
    from wardround.protocol.fixed_point import Int32Vector
    from wardround.protocol.identifiers import StudyId
    from wardround.protocol.messages import TrainTask
    from wardround.protocol.record import Closing
    from wardround_client.site_standing import OpenSite

    _Sent = tuple[Receipt | None, str, dict[str, int]]

_out = Screen(highlight=False, markup=False, soft_wrap=True)
_POLL_SECONDS = 2.0
#: Of an update in one transaction, which carries 128 KiB.
ANSWERED_CHUNKS = 120


def claim(
    paying: Paying,
    store: Annotated[str, typer.Option(help="Content store of the study.")],
    as_json: JsonOption = False,
) -> None:
    """Get paid what the site has earned in final rounds and was not paid yet.

    The money goes to the payout address that the sponsor registered. Secrets of noise in
    rounds that are final are erased.

    Example:
      wardround site claim 0x4a1f…b1 hospital --store store --key treasury.key
    """
    from contextlib import closing

    from wardround.audit.claims import claim_for, claimable, rounds_in_words
    from wardround.chain.amounts import tokens_of
    from wardround.chain.options import print_sent, study_of
    from wardround.store.study_store import open_study_store
    from wardround_client.guard.noise_secrets import KeptSecrets, erase_final
    from wardround_client.site_standing import open_site

    site, study = open_site(paying.folder), study_of(paying.study)
    with (
        site.contract() as ward,
        closing(open_study_store(store, Path(), ward, study)) as objects,
    ):
        found = claimable(ward, study, objects)
        erase_final(KeptSecrets(site.home.noise), ward)
        decimals, sent = ward.decimals(study), False
        for payment in claim_for(ward, _payer(site, paying), study, found, site.address):
            numbers, sent = list(payment.amounts), True
            words = (
                f"paid {tokens_of(payment.amount, decimals)} tokens to {payment.payout} "
                f"for {rounds_in_words(numbers)}"
            )
            facts = {"site": site.address, "rounds": numbers, "paid": str(payment.amount)}
            print_sent(payment.receipt, words, as_json=as_json, **facts)
        if not sent:
            before = tokens_of(ward.claimed(study, site.address), decimals)
            facts = {"site": site.address, "rounds": [], "paid": "0"}
            words = f"nothing is due: {before} tokens were paid before"
            print_sent(None, words, as_json=as_json, **facts)
        for words in found.left_out() if not as_json else ():
            _out.show(words)


def payout(
    paying: Paying,
    to: Annotated[str, typer.Option(help="Address that is paid from now on.")],
    sign: Annotated[
        bool, typer.Option("--sign", help="Send nothing: print --key's signature of the change.")
    ] = False,
    signature: Annotated[
        str, typer.Option(help="Of the present address, by --sign; then any --key may send it.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Have the site's rewards paid to another address. Only by the present one, whose --key signs.

    That address needs none of the chain's currency: what --sign prints can be sent by any account,
    once, and only until the address changes.

    Examples:
      wardround site payout 0x4a1f…b1 hospital --to 0x9c2e…07 --key treasury.key
      wardround site payout 0x4a1f…b1 hospital --to 0x9c2e…07 --key treasury.key --sign
      wardround site payout 0x4a1f…b1 hospital --to 0x9c2e…07 --signature 0x51d0…1b
    """
    from wardround.chain.options import print_sent, signature_of, study_of
    from wardround.protocol.identifiers import address_of, hex_of
    from wardround.protocol.payout import PayoutChange
    from wardround_client.site_standing import open_site

    site, study, address = open_site(paying.folder), study_of(paying.study), address_of(to)
    if sign and signature:
        raise typer.BadParameter("--sign makes what --signature takes: leave one of them out")
    with site.contract() as ward:
        payer = _payer(site, paying)
        if sign:
            count = ward.payout_changes(study, site.address)
            change = PayoutChange(study, site.address, address, count)
            signed = hex_of(change.sign(ward.domain, bytes(payer.key)))
            facts = {"site": site.address, "payout": address, "signature": signed}
            print(json.dumps(facts) if as_json else signed)
            return
        given = signature_of(signature)
        receipt = ward.change_payout(payer, study, site.address, address, given)
    words = f"rewards of {site.address} go to {address}"
    print_sent(receipt, words, as_json=as_json, site=site.address, payout=address)


def contribute(
    paying: Paying,
    store: Annotated[
        str | None,
        typer.Option(help="Content store of the study: the guard trains first, if it must."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Register the signed contribution to the open round on chain, so that it must be included.

    For a site whose coordinator does not take its reply, or does not ask it. It registers the
    answer that the site has signed; with --store, a running guard trains and signs one where there
    is none. It does so before the cut-off of the round, and takes the study's deposit from who pays
    for it; it prints both. Keep `site answer --watch` running, because the coordinator may demand
    the update on chain. The deposit goes back once the round is final, unless demanded bytes were
    not shown.

    Examples:
      wardround site contribute 0x4a1f…b1 hospital --key treasury.key
      wardround site contribute 0x4a1f…b1 hospital --store store --key treasury.key
    """
    from wardround.chain.amounts import tokens_of
    from wardround.chain.options import print_sent, study_of
    from wardround.host.screen import utc
    from wardround.protocol.identifiers import hex_of
    from wardround_client.site_standing import open_site

    site, study = open_site(paying.folder), study_of(paying.study)
    with site.contract() as ward:
        opened = ward.open_round(study)
        number = opened.round
        kept = _answer_to(site, ward, study, number)
        if kept is None and store is not None:
            _let_train(site, ward, study, number, store)
            kept = _answer_to(site, ward, study, number)
        if kept is None:
            raise _unsigned(site, number)
        previous, entry, _ = kept
        receipt = ward.contribute(_payer(site, paying), study, number, previous, entry)
        params, decimals = ward.params(study), ward.decimals(study)
    cut_off = opened.opened_at + params.registration_seconds
    words = (
        f"{site.address} has registered its contribution to round {number}: deposit "
        f"{tokens_of(params.deposit, decimals)} tokens, cut-off {utc(cut_off)}"
    )
    facts = {"site": site.address, "round": number, "update": hex_of(entry.update)}
    facts |= {"deposit": str(params.deposit), "cut_off": cut_off}
    print_sent(receipt, words, as_json=as_json, **facts)


def answer(
    paying: Paying,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on through all rounds, until the last is final.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a transaction.")] = False,
) -> None:
    """Show on chain the chunks of a registered update that the coordinator demands.

    A registration whose chunks are not shown by the deadline is void. Showing them earns what the
    coordinator has paid for them. Deposits of the site's registrations that are due go back to who
    sent them; `wardround court collect` pays them out.

    With --watch it prints a line for each round and each transaction, waits from one round to the
    next, also while the chain is away, and ends when the study is over and its last round final.

    Example:
      wardround site answer 0x4a1f…b1 hospital --watch --key treasury.key
    """
    from wardround.chain.court import Court
    from wardround.chain.errors import ChainError, ContractReverted
    from wardround.chain.options import print_sent, study_of
    from wardround.protocol.errors import Retryable, StudyMismatch
    from wardround_client.site_standing import open_site

    def report(words: str, said: set[str]) -> None:
        if words not in said and not as_json:
            _out.show(words)
        said.add(words)

    def shown(said: set[str]) -> bool:
        sent, failed = False, list[tuple[int, ChainError]]()
        for receipt, words, facts in _shown(site, court, study, payer, failed):
            print_sent(receipt, words, as_json=as_json, **facts)
            sent = True
        # What ends the command comes last.
        failed.sort(key=lambda one: not isinstance(one[1], may_pass))
        for number, error in failed[:-1]:
            report(f"round {number}: {error}", said)
        if failed:
            raise failed[-1][1]
        return sent

    # Another account may have shown the same, or given back the same, meanwhile.
    may_pass = Retryable | ContractReverted
    site, study = open_site(paying.folder), study_of(paying.study)
    with site.contract() as ward:
        court, payer = Court(ward), _payer(site, paying)
        over, where, troubles = False, "", set[str]()
        while watch and not over:
            try:
                # First, so that what is due once the study is over is given back.
                over, before = _is_over(ward, study), where
                where = _where_it_is(site, ward, study)
                report(where, {before})
                shown(troubles)
                troubles.clear()
            except (ChainError, StudyMismatch) as error:
                # The latter where the chain has moved between two requests.
                if not isinstance(error, may_pass | StudyMismatch):
                    raise
                over = False
                report(f"waiting: {error}", troubles)
            if not over:
                time.sleep(_POLL_SECONDS)
        if watch or shown(troubles):
            return
        state = ward.study(study)
        ended = state.head > state.rounds
        if state.head and not ended and _answer_to(site, ward, study, state.head) is None:
            raise _unsigned(site, state.head)
    if not as_json:
        where = "registrations" if ended or not state.head else f"update of round {state.head}"
        _out.print(f"nothing is demanded of the {where}")


def _is_over(ward: WardRound, study: StudyId) -> bool:
    """Tell whether a study has no round left, and its last one is final."""
    state = ward.study(study)
    if state.head <= state.rounds:
        return False
    return state.rounds == 0 or ward.is_final(study, state.rounds, ward.last_closing(study))


def _where_it_is(site: OpenSite, ward: WardRound, study: StudyId) -> str:
    """Name in one line where a study is, for a site that may have to show its update."""
    state = ward.study(study)
    if _is_over(ward, study):
        return "the study is over and its last round final"
    if state.head == 0:
        return "the study is not open yet"
    if state.head > state.rounds:
        return f"round {state.rounds} was the last: waiting until it is final"
    number = f"round {state.head} is open"
    if any(one.site == site.address for one in ward.registered(study, state.head)):
        return f"{number}: the site's contribution is registered"
    if _answer_to(site, ward, study, state.head) is None:
        return f"{number}: the site has signed nothing for it yet"
    return f"{number}: the site has signed its contribution, and nothing is registered"


def _shown(
    site: OpenSite,
    court: Court,
    study: StudyId,
    payer: LocalAccount,
    failed: list[tuple[int, ChainError]],
) -> Iterator[_Sent]:
    """Show what is demanded of the site's registrations, and give back deposits that are due.

    Args:
        site: whose they are.
        court: where they are registered.
        study: the study.
        payer: sends the transactions.
        failed: takes the round of each registration that met an error; the others go on.
    """
    from wardround.chain.errors import ChainError, ChainUnreachable
    from wardround.protocol.record import NO_CLOSING

    registrations = court.ward.registrations_of(study, site.address)
    rounds = court.ward.rounds_of(study)
    final = dict(court.ward.final_closings(study))
    # Of a study that was ended, the open round is never closed.
    final |= dict.fromkeys((one.round for one in registrations if one.round > rounds), NO_CLOSING)
    # Chunks have a deadline, deposits have none.
    steps = [_chunks_shown(site, court, study, payer, one) for one in registrations]
    steps += [_given_back(court, study, payer, one, final) for one in registrations]
    for step, registered in zip(steps, 2 * registrations, strict=True):
        try:
            yield from step
        except ChainUnreachable:
            raise
        except ChainError as error:
            failed.append((registered.round, error))


def _chunks_shown(
    site: OpenSite, court: Court, study: StudyId, payer: LocalAccount, registered: Registered
) -> Iterator[_Sent]:
    from contextlib import nullcontext

    from wardround.chain.errors import ContractReverted
    from wardround.protocol.inspection import chunks_from

    ward, number = court.ward, registered.round
    state = court.standing(study, number, registered.previous, registered.site)
    update = _registered_update(site, ward, study, registered) if state.unanswered else None
    # Behind the deadline, or without the bytes, there is nothing to show any more.
    if update is None or ward.chain.timestamp() > state.deadline:
        return
    for first in range(state.shown, state.demanded, ANSWERED_CHUNKS):
        count = min(ANSWERED_CHUNKS, state.demanded - first)
        chunks = chunks_from(update.data, first, count)
        before = (study, number, registered.previous)
        is_last = first + count == state.demanded
        try:
            # Dozens may have one deadline: the last waits until all of them are confirmed.
            with nullcontext() if is_last else ward.chain.unconfirmed():
                receipt = court.answer_contribution(payer, *before, registered.entry, chunks)
        except ContractReverted as error:
            # Another account has shown them meanwhile.
            if error.name == "Court_ChunkUnexpected":
                continue
            raise
        words = f"showed chunks {first} to {first + count - 1} of the update"
        facts = {"round": number, "first": first, "count": count}
        yield receipt, f"{words} of round {number}", facts


def _given_back(
    court: Court,
    study: StudyId,
    payer: LocalAccount,
    registered: Registered,
    final: Mapping[int, Closing],
) -> Iterator[_Sent]:
    number, where = registered.round, (registered.round, registered.previous, registered.site)
    state = court.standing(study, *where)
    # What is demanded and can still be shown is shown first.
    shown = not state.unanswered or court.chain.timestamp() > state.deadline
    if number in final and shown and not state.settled:
        receipt = court.close_contribution(payer, study, *where, final[number])
        words = f"the deposit of round {number} goes back to {registered.sender}"
        yield receipt, words, {"round": number}


def _let_train(site: OpenSite, ward: WardRound, study: StudyId, number: int, store: str) -> None:
    """Let the site's guard train for a round from the model in the store, by its own rules."""
    from contextlib import closing

    from wardround.audit.finding import find_vector
    from wardround.protocol.errors import SpecificationError
    from wardround.protocol.fixed_point import vector_from_bytes
    from wardround.protocol.identifiers import hex_of
    from wardround.store.study_store import open_study_store
    from wardround_client.guard.client import guard_of

    task = _task(ward, study, number)
    root = task.previous.record.model
    with closing(open_study_store(store, Path(), ward, study)) as objects:
        found = find_vector(objects, task.params, root)
        if found is None:
            reason = f"it lacks the model {hex_of(root)}, which round {number} starts from"
            raise SpecificationError(store, reason)
        base = vector_from_bytes(found.data, task.params.parameter_count)
    guard_of(site.home).train(task, base)


def _answer_to(
    site: OpenSite, ward: WardRound, study: StudyId, number: int
) -> tuple[Closing, Entry, Int32Vector] | None:
    """Find the site's signed answer to a round as it starts now.

    Returns:
        The closing before, the entry and the update; None where the site has signed none.
    """
    from wardround_client.guard.answers import KeptAnswers

    task = _task(ward, study, number)
    kept = KeptAnswers(site.home.answers).find(task)
    return None if kept is None else (task.previous, kept[0].entry, kept[1])


def _registered_update(
    site: OpenSite, ward: WardRound, study: StudyId, registered: Registered
) -> Int32Vector | None:
    """Find the update of a registration, also where the site has answered later rounds since."""
    from wardround_client.guard.answers import KeptAnswers

    kept = KeptAnswers(site.home.answers)
    return kept.find_update(ward.params(study), registered.round, registered.update)


def _task(ward: WardRound, study: StudyId, number: int) -> TrainTask:
    """Read from the chain what a train task holds, except for the specification."""
    from wardround.protocol.messages import TrainTask
    from wardround.protocol.record import genesis_closing

    params, closings = ward.params(study), dict(ward.closings(study))
    previous = closings.get(number - 1) or genesis_closing(params.initial_model)
    return TrainTask(params, previous, number, b"")


def _unsigned(site: OpenSite, number: int) -> SpecificationError:
    from wardround.protocol.errors import SpecificationError

    hint = "let it train first, as `site contribute --store` does"
    reason = f"it has signed nothing for round {number}, which is open: {hint}"
    return SpecificationError(f"site in {site.home.folder}", reason)


def _payer(site: OpenSite, paying: Paying) -> LocalAccount:
    from eth_account import Account

    from wardround.host.key_file import read_key
    from wardround_client.keystore import open_keystore

    if paying.key is not None:
        return read_key(paying.key)
    own: LocalAccount = Account.from_key(
        open_keystore(site.keystore, password_of(paying.password_file))
    )
    return own
