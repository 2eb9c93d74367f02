"""``wardround site ...``: what a hospital's administrator does."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from wardround.host.commands import Commands
from wardround.host.screen import Screen
from wardround_client import chain_commands
from wardround_client.options import (
    HOME,
    HomeArgument,
    JsonOption,
    PasswordOption,
    StoreOption,
    StudyArgument,
)
from wardround_client.password import password_of
from wardround_client.site_template import TEMPLATE

# Keys and chains take seconds to import, which would delay `--help`: each command imports what it
# needs.

app = Commands(epilog="Start with: wardround site init")
_out = Screen(highlight=False, soft_wrap=True)
_err = Screen(stderr=True, highlight=False, soft_wrap=True)


@app.callback()
def _before_each() -> None:
    # For all commands, so that none has a secret first.
    from wardround_client.private_memory import keep_memory_private

    keep_memory_private()


@app.command()
def init(
    folder: HomeArgument = HOME,
    name: Annotated[
        str | None, typer.Option(help="What the site is called; by default as its folder.")
    ] = None,
    endpoint: Annotated[
        str, typer.Option(help="JSON-RPC endpoint of the chain.")
    ] = "http://127.0.0.1:8545",
    chain_id: Annotated[int, typer.Option(min=1, max=2**53 - 1, help="The chain's id.")] = 31337,
    contract: Annotated[str, typer.Option(help="Address of the contract.")] = "0x" + "00" * 20,
    password_file: PasswordOption = None,
) -> None:
    """Make a site: a key under a password, and a site.toml to fill in.

    Examples:
      wardround site init hospital

      wardround site init hospital --password-file secret.txt --endpoint https://rpc.example.org
    """
    from wardround.protocol.identifiers import address_of
    from wardround.transport.enrolment import ENROLMENT, enrol
    from wardround_client.home import make_home
    from wardround_client.keystore import open_keystore

    called = name or folder.resolve().name.lower()
    text = TEMPLATE.format(
        name=json.dumps(called),
        endpoint=json.dumps(endpoint),
        chain_id=chain_id,
        contract=json.dumps(address_of(contract).lower()),
    )
    password = password_of(password_file, confirm=True)
    address = make_home(folder, text, password, _now())
    enrol(folder, called, open_keystore(folder / "keystore.json", password))
    _out.print(f"site {called} is in {folder}")
    _out.print(f"  its address is {address}")
    _out.print(f"  keep a copy of {folder}/keystore.json and of its password: both are needed")
    _out.print("\nNext:", style="bold")
    _out.print(f"  fill in {folder}/site.toml: your table, chain and contract, the coordinator")
    _out.print(f"  wardround site preview {folder}            see that the table is read")
    _out.print("  send the address to the study's sponsor, who admits it")
    _out.print(f"  send {folder}/{ENROLMENT} to the coordinator, who lets your node in")
    _out.print(f"  wardround site approve STUDY {folder}      read a study, and agree to it")
    _out.print(f"  wardround site run {folder}                take part")


@app.command()
def guard(folder: HomeArgument = HOME, password_file: PasswordOption = None) -> None:
    """Run the guard alone, in the foreground: it holds the key and signs what may leave.

    `wardround site run` starts it for you. SIGTERM or Ctrl-C ends it.

    Examples:
      wardround site guard hospital --password-file secret.txt
    """
    from wardround_client.guard.run import run_guard
    from wardround_client.home import Home

    Home(folder).settings()  # before a password is asked for
    run_guard(
        folder,
        password_of(password_file),
        _now,
        inform=_out.show,
        warn=lambda words: _err.show(f"warning: {words}", style="yellow"),
    )


@app.command()
def run(
    folder: HomeArgument = HOME,
    password_file: PasswordOption = None,
    store: StoreOption = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Go on for further studies when the approved have ended.")
    ] = False,
) -> None:
    """Take part: run guard and SuperNode, and print what happens, until all studies have ended.

    Then it prints what the site has earned in each approved study, which it computes from the
    entries in --store, and the command that claims it. SIGTERM or Ctrl-C ends it before; it may be
    restarted at any time.

    Examples:
      wardround site run hospital --password-file secret.txt

      wardround site run hospital --store store --keep
    """
    # Flower takes seconds to import, and only this command needs it.
    from wardround.transport.supervision import stop_asked
    from wardround_client.home import Home
    from wardround_client.service import SiteService

    home = Home(folder)
    home.settings()  # before a password is asked for
    password = password_of(password_file)
    with stop_asked() as stopped:
        now = partial(datetime.now, UTC)
        SiteService(home, password, _tell, now, stopped, keep, store).run()


@app.command()
def approve(
    study: StudyArgument,
    folder: HomeArgument = HOME,
    store: StoreOption = None,
    spec: Annotated[
        Path | None, typer.Option(help="The study's file, instead of --store.", dir_okay=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Approve without asking.")] = False,
    password_file: PasswordOption = None,
) -> None:
    """Show what a study is, and take part in it.

    The parameters come from the chain; the specification from a content store or a file, and must
    have the digest that the chain names. The approval is signed with the site's key.

    Examples:
      wardround site approve 0x4a1f…b1 hospital --store store

      wardround site approve 0x4a1f…b1 hospital --spec study.toml --yes --password-file secret.txt
    """
    from wardround.chain.options import study_of
    from wardround_client.guard.approvals import Approvals
    from wardround_client.guard.policy import approve_policy, approved_policy, changes
    from wardround_client.keystore import open_keystore
    from wardround_client.site_approval import describe, propose, try_model
    from wardround_client.site_standing import open_site

    if store is not None and spec is not None:
        raise typer.BadParameter("--spec is read instead of --store: leave one of them out")
    site, identity = open_site(folder), study_of(study)
    with site.contract() as ward:
        proposal = propose(site.home, ward, identity, store, spec, _now())
        for line in describe(proposal, ward, site.address):
            _out.show(line)
    before, terms = approved_policy(site.home.policy, site.address), site.settings.terms
    if differs := changes(before, terms):
        _out.print("  your policy  is changed in site.toml, and you approve that too:")
        for line in differs:
            _out.show(f"               {line}")
    if not yes and not typer.confirm("Take part in this study?"):
        _out.print("Not approved.")
        raise typer.Exit(1)
    for line in try_model(proposal, site.home):
        _out.show(line)
    key = open_keystore(site.keystore, password_of(password_file))
    if differs:
        approve_policy(site.home.policy, terms, site.address, key)
    path = Approvals(site.home.approvals, site.address).give(proposal.approval, key)
    again = "; a changed policy, once it is started again" if differs else ""
    _out.print(f"Approved, in {path}. The guard knows it at once{again}.")


@app.command()
def revoke(study: StudyArgument, folder: HomeArgument = HOME) -> None:
    """Take no further part in a study. What was signed stays signed.

    Examples:
      wardround site revoke 0x4a1f…b1 hospital
    """
    from wardround.chain.options import study_of
    from wardround_client.guard.approvals import Approvals
    from wardround_client.site_standing import open_site

    site = open_site(folder)
    kept = Approvals(site.home.approvals, site.address).revoke(study_of(study), _now())
    _out.print(f"Revoked: the guard signs nothing more for it. The approval is kept as {kept}.")


@app.command()
def policy(
    folder: HomeArgument = HOME,
    yes: Annotated[bool, typer.Option("--yes", help="Approve without asking.")] = False,
    password_file: PasswordOption = None,
) -> None:
    """Approve a changed policy, or column of patients, with the key; then restart the guard.

    Until then the guard keeps to what was approved last, because a program of the site's user
    could have changed the file.

    Examples:
      wardround site policy hospital
    """
    from wardround.protocol.errors import SpecificationError
    from wardround_client.guard.policy import (
        approve_policy,
        approved_policy,
        changes,
        keys_of,
        shown,
    )
    from wardround_client.keystore import open_keystore
    from wardround_client.site_standing import open_site

    site = open_site(folder)
    path, wanted = site.home.policy, site.settings.terms
    try:
        lines = changes(approved_policy(path, site.address), wanted)
    except SpecificationError as error:
        _err.show(f"warning: {error}", style="yellow")
        lines = [f"{key}: {shown(value)}" for key, value in keys_of(wanted).items()]
    else:
        if not lines:
            _out.print("The approved policy is the one in site.toml: there is nothing to do.")
            return
    for line in lines:
        _out.show(f"  {line}")
    if not yes and not typer.confirm("Approve this policy?"):
        _out.print("Not approved.")
        raise typer.Exit(1)
    key = open_keystore(site.keystore, password_of(password_file))
    approve_policy(path, wanted, site.address, key)
    _out.print("Approved. It is in force once the guard is started again.")


@app.command()
def status(
    folder: HomeArgument = HOME,
    as_json: JsonOption = False,
) -> None:
    """Show the site's identity, whether guard and chain answer, and the state of its studies.

    Erases the secrets of noise in rounds that are final by now.

    Examples:
      wardround site status hospital
    """
    from wardround_client.site_standing import open_site, standing

    found = standing(open_site(folder))
    if as_json:
        print(json.dumps(found))
        return
    _out.print(f"site {found['name']}, {found['address']}")
    _out.show(f"  guard: {found['guard']}")
    _out.show(f"  chain: {found['chain']}")
    _out.show(f"  table: {found['table']}")
    _out.show(f"  sandbox: {found['sandbox']}")
    _out.show(f"  privacy: {found['privacy']}")
    for line in found["unsigned"]:
        _out.show(f"  not in force: {line} once `wardround site policy` has signed it")
    if not found["studies"]:
        _out.print("  no study is approved: see `wardround site approve --help`")
    for one in found["studies"]:
        _out.show(f"  study {one['study']} ({one['name']}): {one['state']}")
        if one["privacy"] is not None:
            _out.show(f"    privacy: {one['privacy']}")


@app.command()
def history(
    folder: HomeArgument = HOME,
    store: StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List everything that the site ever signed, and what became of it on the chain.

    Examples:
      wardround site history hospital

      wardround site history hospital --store store --json
    """
    from wardround.chain.amounts import tokens_of
    from wardround.protocol.identifiers import hex_of
    from wardround.store import open_store
    from wardround_client.guard.log import read_log
    from wardround_client.site_history import history as read_history
    from wardround_client.site_standing import open_site

    site = open_site(folder)
    lines = [line for line in read_log(site.home.log) if line["kind"] == "signed"]
    if not lines:
        if not as_json:
            _out.print("Nothing was signed yet.")
        return
    with site.contract() as ward:
        objects = None if store is None else open_store(store)
        signed, earned = read_history(lines, site.address, ward, objects)
        decimals = {money.study: ward.decimals(money.study) for money in earned}
    if as_json:
        for one in signed:
            print(json.dumps({**vars(one), "study": hex_of(one.study)}))
        for money in earned:
            print(json.dumps({**vars(money), "study": hex_of(money.study)}))
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("signed (UTC)", "study", "round", "weight", "update", "on the chain"):
        table.add_column(column, justify="right" if column in ("round", "weight") else "left")
    for one in signed:
        style = "red" if one.fate in ("forged", "left out") else ""
        when, short = _when(one.at), hex_of(one.study)[:10]
        row = (when, short, str(one.round), f"{one.weight:,}", one.update[:10], one.fate)
        table.add_row(*row, style=style)
    _out.print(table, width=max(_out.width, 90), crop=False)
    for money in earned:
        places = decimals[money.study]
        total = "" if money.earned is None else f", earned {tokens_of(money.earned, places)} so far"
        paid = f"paid {tokens_of(money.paid, places)} tokens{total}"
        _out.print(f"study {hex_of(money.study)}: {paid}")


@app.command()
def preview(folder: HomeArgument = HOME) -> None:
    """Read the site's table and show counts and ranges, no rows.

    Examples:
      wardround site preview hospital
    """
    from wardround_client.site_standing import open_site, previewed

    for line in previewed(open_site(folder)):
        _out.show(line)


for _command in (
    chain_commands.claim,
    chain_commands.contribute,
    chain_commands.answer,
    chain_commands.payout,
):
    app.command()(_command)


# ---------------------------------------------------------------- inside


def _tell(words: str) -> None:
    _out.show(f"{datetime.now():%H:%M:%S} {words}")


def _when(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _now() -> int:
    return int(time.time())
