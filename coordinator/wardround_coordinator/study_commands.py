"""``wardround study ...``: what a sponsor does, from a study's creation to its last token."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wardround.chain.amounts import amount_of, tokens_of
from wardround.chain.chain import connected
from wardround.chain.options import (
    ChainIdOption,
    ChainOption,
    KeyOption,
    Sending,
)
from wardround.chain.study_token import StudyToken
from wardround.host.commands import Commands
from wardround.host.key_file import read_key, write_new_key
from wardround.host.screen import Screen
from wardround.host.study_file import read_study_file
from wardround.protocol.errors import SpecificationError
from wardround.protocol.identifiers import address_of, hex_of
from wardround.protocol.study import check_turns
from wardround.protocol.whole_evidence import check_provable
from wardround.store import open_store

app = Commands(epilog="Start with: wardround study keygen sponsor.key")
_out = Screen(highlight=False, markup=False, soft_wrap=True)

_Site = Annotated[str, typer.Argument(help="The site's address, from `wardround site init`.")]


@app.command()
def keygen(file: Annotated[Path, typer.Argument(help="A new file for the key.")]) -> None:
    """Make a key for a sponsor or a coordinator; its address needs the chain's currency for gas.

    Example:
      wardround study keygen sponsor.key
    """
    if file.exists():
        raise SpecificationError(file, "the file is there already: name another one")
    _out.print(f"address      {write_new_key(file).address}")
    _out.print(f"key          {file}   back it up, show it to no one")


@app.command()
def create(
    file: Annotated[Path, typer.Argument(help="The study's TOML file: docs/study-file.md.")],
    chain: ChainOption,
    key: KeyOption,
    coordinator: Annotated[
        list[str], typer.Option(help="Its address; repeat it for standbys, in their order.")
    ],
    store: Annotated[str, typer.Option(help="Content store that the coordinator will use.")],
    chain_id: ChainIdOption = None,
    contract: Annotated[
        str | None, typer.Option(help="WardRound contract; a new one if not given.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="ERC-20 to pay in; a plain new one, worth nothing, if not given."),
    ] = None,
    auditor: Annotated[
        list[str] | None, typer.Option(help="Auditor whose attestation counts; repeatable.")
    ] = None,
) -> None:
    """Create a study and pay its rewards and fees in. Nothing of it can be changed afterwards.

    It pins the digest of the code that is installed here: sites run that and nothing else. A study
    whose round_seconds are below registration_seconds and demand_seconds together is refused.

    Example:
      wardround study create study.toml --chain http://127.0.0.1:8545 --key sponsor.key
      --coordinator 0xabcd… --store fl/store
    """
    # PyTorch takes seconds to import, and only this command needs it.
    from wardround_coordinator.sponsoring import create_study

    spec = read_study_file(file)
    check_turns(spec.chain, file)
    coordinators = [address_of(one) for one in coordinator]
    auditors = [address_of(one) for one in auditor or ()]
    with connected(chain, chain_id) as opened:
        create_study(
            opened,
            read_key(key),
            spec,
            coordinators,
            open_store(store),
            contract=None if contract is None else address_of(contract),
            token=None if token is None else address_of(token),
            auditors=auditors,
            say=_out.show,
        )
    _out.print("Next: `wardround study admit` for each site, then `wardround study open`.")


@app.command()
def fund(
    sending: Sending,
    tokens: Annotated[str, typer.Argument(help="How many tokens to pay in.")],
) -> None:
    """Pay more into a study: the part that no round earns goes back to its sponsor.

    `study create` pays all rewards and fees in; this is for a study whose creation was interrupted,
    or for an account that pays in the sponsor's place. Sent again, it pays again.

    Example:
      wardround study fund 0x5e1f… 250 --chain … --contract 0x1234… --key sponsor.key
    """
    with sending.signing() as (ward, study, signer):
        money = StudyToken(ward.chain, ward.study(study).token)
        decimals = money.decimals()
        amount = _amount_of(tokens, decimals)
        money.require(signer.address, amount)
        money.approve(signer, ward.address, amount)
        receipt = ward.fund(signer, study, amount)
        state = ward.study(study)
        funded = state.funded
    held = f"the study has been paid {tokens_of(funded, decimals)}"
    words = f"paid in {tokens_of(amount, decimals)} tokens; {held}"
    if state.head > state.rounds:
        words += ": it is over, and `wardround study refund` returns what no round earned"
    sending.sent(receipt, words, amount=str(amount), funded=str(funded))


@app.command()
def admit(
    sending: Sending,
    site: _Site,
    payout: Annotated[str, typer.Option(help="Where its rewards go: not its signing key.")],
    max_weight: Annotated[
        int, typer.Option(min=1, max=2**31 - 1, help="How many examples it may count at most.")
    ],
) -> None:
    """Admit a site, from the round being worked on.

    With the rule multi_krum a study takes 235 sites, with clipped_mean 1,400: what is wrong with
    more cannot be proven.

    Example:
      wardround study admit 0x5e1f… 0xabcd… --chain … --contract 0x1234… --key sponsor.key
      --payout 0x77aa… --max-weight 500
    """
    address, to = address_of(site), address_of(payout)
    with sending.signing() as (ward, study, signer):
        if not ward.site(study, address).since:
            state = ward.study(study)
            check_provable(state.rule, state.site_count + 1, f"study {hex_of(study)}")
        receipt = ward.admit_site(signer, study, address, to, max_weight)
    words = f"{address} is admitted: at most {max_weight} examples, paid at {to}"
    sending.sent(receipt, words, site=address)


@app.command()
def remove(
    sending: Sending,
    site: _Site,
) -> None:
    """Remove a site from the next round on; what it has earned stays its own.

    Example:
      wardround study remove 0x5e1f… 0xabcd… --chain … --contract 0x1234… --key sponsor.key
    """
    address = address_of(site)
    with sending.signing() as (ward, study, signer):
        receipt = ward.remove_site(signer, study, address)
    sending.sent(receipt, f"{address} is removed", site=address)


@app.command("open")
def open_(
    sending: Sending,
) -> None:
    """Open round 1. The coordinator may start, and its clock runs.

    Example:
      wardround study open 0x5e1f… --chain … --contract 0x1234… --key sponsor.key
    """
    with sending.signing() as (ward, study, signer):
        receipt = ward.open_study(signer, study)
    sending.sent(receipt, "round 1 is open")


@app.command()
def end(
    sending: Sending,
) -> None:
    """End a study after the rounds that it has.

    Its sponsor may end it before it is opened, and later when each of its coordinators has had its
    turn and none has closed the round; any account may once its deadline has passed. What sites
    have earned stays theirs.

    Example:
      wardround study end 0x5e1f… --chain … --contract 0x1234… --key sponsor.key
    """
    with sending.signing() as (ward, study, signer):
        receipt = ward.end_study(signer, study)
        rounds = ward.study(study).rounds
    words = f"the study is ended after {rounds} rounds: next, `wardround study refund`"
    sending.sent(receipt, words, rounds=rounds)


@app.command()
def refund(
    sending: Sending,
) -> None:
    """Return to the sponsor what no round has earned, once the study is over and final.

    Any account may send it: the money goes to the sponsor.

    Example:
      wardround study refund 0x5e1f… --chain … --contract 0x1234… --key sponsor.key
    """
    with sending.signing() as (ward, study, signer):
        before = ward.study(study).refunded
        receipt = ward.refund(signer, study, ward.last_closing(study))
        state, decimals = ward.study(study), ward.decimals(study)
    amount = state.refunded - before
    words = f"returned {tokens_of(amount, decimals)} tokens to {state.sponsor}"
    sending.sent(receipt, words, amount=str(amount), sponsor=state.sponsor)


def _amount_of(tokens: str, decimals: int) -> int:
    """Read what is paid in: above zero, and no more than a study can hold."""
    try:
        amount = amount_of(tokens, decimals)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if not 0 < amount < 2**128:
        raise typer.BadParameter(f"{tokens} tokens cannot be paid in: name an amount above 0")
    return amount
