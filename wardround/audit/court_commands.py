"""``wardround court ...``: prove a wrong round, answer demands, collect what they brought in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from wardround.audit.auditor import Auditor
from wardround.audit.commands import print_notice, study_at
from wardround.audit.notices import Powers
from wardround.audit.signatures import SignatureFolder
from wardround.chain.court import Court
from wardround.chain.court_events import Demanded
from wardround.chain.court_reader import DemandStatus
from wardround.chain.options import (
    ChainIdOption,
    ChainOption,
    ContractOption,
    JsonOption,
    KeyOption,
    StudyArgument,
    print_sent,
    study_of,
    tokens_of,
    ward_at,
)
from wardround.host.key_file import read_key
from wardround.protocol.errors import SpecificationError
from wardround.protocol.identifiers import address_of, hex_of

app = typer.Typer(
    name="court",
    help="Prove a wrong round on chain, answer demands for data, collect what it brought in.",
    epilog="To do all of it as the study goes on: wardround audit STUDY --watch --challenge",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
_out = Console(highlight=False, soft_wrap=True)

_Store = Annotated[str, typer.Option(help="Content store of the study.")]


@app.command()
def challenge(
    study: StudyArgument,
    chain: ChainOption,
    contract: ContractOption,
    store: _Store,
    key: KeyOption,
    chain_id: ChainIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay every closed round once, and prove on chain what is wrong with one.

    What cannot be proven because data is not shown is demanded, against a deposit. Run it again
    after the deadline: a demand without an answer overturns the round. With the key of one of the
    study's auditors, it also attests what holds. Ends with 1 when a round does not hold.

    Example:
      wardround court challenge 0x5e1f… --chain http://127.0.0.1:8545 --contract 0x1234…
      --store ./store --key auditor.key
    """
    where = (study, chain, chain_id, contract, store)
    with _auditor(*where, Powers(read_key(key), challenge=True)) as auditor:
        for notice in auditor.step():
            print_notice(notice, as_json)
        if auditor.breaches:
            raise typer.Exit(1)


@app.command()
def answer(
    study: StudyArgument,
    chain: ChainOption,
    contract: ContractOption,
    store: _Store,
    key: KeyOption,
    chain_id: ChainIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show on chain what is demanded and the store has; the account earns the deposits.

    Example:
      wardround court answer 0x5e1f… --chain http://127.0.0.1:8545 --contract 0x1234…
      --store ./store --key any.key
    """
    where = (study, chain, chain_id, contract, store)
    with _auditor(*where, Powers(read_key(key), answer=True)) as auditor:
        answered = [notice for notice in auditor.step() if notice.kind == "answered"]
    for notice in answered:
        print_notice(notice, as_json)
    if not answered and not as_json:
        _out.print("no demand is open whose data is in this store")


@app.command()
def attest(
    study: StudyArgument,
    chain: ChainOption,
    contract: ContractOption,
    store: _Store,
    key: KeyOption,
    signatures: Annotated[
        Path | None, typer.Option(help="Folder that a quorum of auditors shares.")
    ] = None,
    chain_id: ChainIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign that all rounds hold, and make them final once a quorum of auditors has signed.

    The key is that of an auditor whom the study names.

    Example:
      wardround court attest 0x5e1f… --chain http://127.0.0.1:8545 --contract 0x1234…
      --store ./store --key auditor.key --signatures shared
    """
    signer, folder = read_key(key), None if signatures is None else SignatureFolder(signatures)
    powers = Powers(signer, signatures=folder)
    with _auditor(study, chain, chain_id, contract, store, powers) as auditor:
        if not auditor.ward.is_auditor(auditor.study, signer.address):
            raise SpecificationError(key, "it is no auditor's of this study")
        for notice in auditor.step():
            print_notice(notice, as_json)
        if auditor.breaches:
            raise typer.Exit(1)


@app.command()
def demands(
    study: StudyArgument,
    chain: ChainOption,
    contract: ContractOption,
    chain_id: ChainIdOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the demands for data that are open, with their deadlines.

    Example:
      wardround court demands 0x5e1f… --chain http://127.0.0.1:8545 --contract 0x1234…
    """
    with ward_at(chain, chain_id, contract) as ward:
        court, found = Court(ward), 0
        for event in court.events(study_of(study)):
            if not isinstance(event, Demanded):
                continue
            state = court.demand_of(event.demand)
            if state.status is not DemandStatus.OPEN:
                continue
            found += 1
            what = event.what.name.lower()
            if as_json:
                facts = {"demand": hex_of(event.demand), "round": event.round, "what": what}
                facts |= {"index": event.index, "deadline": state.deadline}
                print(json.dumps(facts | {"deposit": str(state.deposit)}))
                continue
            _out.print(
                f"round {event.round}: part {event.index} of its {what}, until {state.deadline}; "
                f"the answer earns {tokens_of(state.deposit)}; demand {hex_of(event.demand)}"
            )
    if not found and not as_json:
        _out.print("no demand is open")


@app.command()
def collect(
    study: StudyArgument,
    chain: ChainOption,
    contract: ContractOption,
    key: KeyOption,
    account: Annotated[
        str | None, typer.Option(help="Whose; by default the key's own address.")
    ] = None,
    chain_id: ChainIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pay out an account's part of slashed bonds, its deposits and what its answers earned.

    Example:
      wardround court collect 0x5e1f… --chain http://127.0.0.1:8545 --contract 0x1234… --key my.key
    """
    signer, identity = read_key(key), study_of(study)
    owner = signer.address if account is None else address_of(account)
    with ward_at(chain, chain_id, contract) as ward:
        parts = (("of slashed bonds", ward), ("of deposits and earnings", Court(ward)))
        for what, place in parts:
            amount = place.owed(identity, owner)
            if not amount:
                if not as_json:
                    _out.print(f"{owner} has nothing {what} to collect")
                continue
            receipt = place.collect(signer, identity, owner)
            words = f"{tokens_of(amount)} {what} paid to {owner}"
            print_sent(receipt, words, as_json=as_json, account=owner, amount=str(amount))


@contextmanager
def _auditor(
    study: str, chain: str, chain_id: int | None, contract: str, store: str, powers: Powers
) -> Iterator[Auditor]:
    with study_at(study, chain, chain_id, contract, store) as (ward, identity, objects):
        yield Auditor(ward, identity, objects, powers)
