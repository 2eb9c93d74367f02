"""Commands of a coordinator: a folder, its certificates, its sites, and the study itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from eth_account.signers.local import LocalAccount

from wardround.chain.amounts import tokens_of
from wardround.chain.options import (
    ChainOption,
    ContractOption,
    JsonOption,
    print_sent,
    study_of,
)
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.host.commands import Commands
from wardround.host.durable import write_private
from wardround.host.key_file import read_key, write_new_key
from wardround.host.screen import Screen
from wardround.protocol.documents import toml_of
from wardround.protocol.errors import SpecificationError
from wardround.protocol.identifiers import StudyId
from wardround.transport.certificates import SERVER_DAYS, check_time, issue_server, make_authority
from wardround.transport.enrolment import read_enrolment
from wardround.transport.supervision import stop_asked
from wardround_coordinator.home import CoordinatorHome
from wardround_coordinator.settings import COORDINATOR_FILE, load_coordinator_settings

if TYPE_CHECKING:
    from wardround_coordinator.service import Service

app = Commands()
_out = Screen(highlight=False, markup=False, soft_wrap=True)
#: A name's letters, or an IP address, without a port.
_HOST_NAME = re.compile(r"[0-9A-Za-z:][0-9A-Za-z.:_-]{0,252}")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_Home = Annotated[Path, typer.Argument(help="The coordinator's folder.")]


@app.command()
def init(
    home: _Home,
    chain: ChainOption,
    contract: ContractOption,
    study: Annotated[str, typer.Option(help="The study's id.")],
    chain_id: Annotated[int, typer.Option(min=1, max=2**53 - 1, help="Its chain id.")],
    host: Annotated[
        list[str], typer.Option(help="Name or address under which sites reach it; repeatable.")
    ],
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 8443,
    listen: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104 -- sites come from outside
    sites: Annotated[
        int | None, typer.Option(min=1, help="Sites to wait for; by default all admitted ones.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="File with the key that the study names; it is copied.")
    ] = None,
    store: Annotated[
        str, typer.Option(help="Content store; a relative path starts at the folder.")
    ] = "store",
) -> None:
    """Make a coordinator's folder: its key, its certificate authority, its settings.

    Example:
      wardround coordinator init fl --chain http://127.0.0.1:8545 --chain-id 31337
      --contract 0x1234… --study 0x5e1f… --host fl.example.org
    """
    place = CoordinatorHome(home)
    for one in host:
        if _HOST_NAME.fullmatch(one) is None:
            raise typer.BadParameter(f"--host {one!r}: give a host's name or IP address")
    if home.exists() and any(home.iterdir()):
        reason = "the folder is not empty: name another one"
        raise SpecificationError(home, reason)
    with WardRound.at(chain, chain_id, contract) as ward:
        facts = ward.facts(study_of(study))
    account = None if key is None else read_key(key)
    for folder in (home, place.tls, place.sites):
        folder.mkdir(parents=True, exist_ok=True)
    if account is None:
        account = write_new_key(home / "coordinator.key")
    else:
        write_private(home / "coordinator.key", account.key.hex() + "\n")
    now = datetime.now(UTC)
    make_authority(place.tls, host[0], now)
    issue_server(place.tls, [*host, *_LOOPBACK], now)
    tables: dict[str, dict[str, object]] = {
        "coordinator": {
            "key_file": "coordinator.key",
            "store": store,
            "rounds_file": "rounds.jsonl",
        },
        "study": {
            "chain": chain,
            "chain_id": chain_id,
            "contract": facts.domain.contract.lower(),
            "id": study,
            "sites": sites or max(1, len(facts.members)),
        },
        "server": {"host": listen, "port": port, "names": host},
    }
    (home / COORDINATOR_FILE).write_text(toml_of(tables.items()), encoding="utf-8")
    load_coordinator_settings(home)
    _out.print(f"address      {account.address}   the study must name it, and it pays for gas")
    _out.print(f"certificate  {place.authority}   give it to every site; it is no secret")
    _out.print(f"settings     {home / COORDINATOR_FILE}")


@app.command("add-site")
def add_site(
    home: _Home,
    enrolment: Annotated[Path, typer.Argument(help="The enrolment.json that a site handed in.")],
) -> None:
    """Enrol a site's node key, after checking that the site itself signed for it.

    Example:
      wardround coordinator add-site fl ~/incoming/enrolment.json
    """
    place = CoordinatorHome(home)
    settings = load_coordinator_settings(home)
    found = read_enrolment(enrolment)
    with settings.study.opened() as ward:
        facts = ward.facts(settings.study_id)
    place.sites.mkdir(exist_ok=True)
    target = place.sites / f"{found.site}.json"
    replaced = target.exists()
    target.write_bytes(enrolment.read_bytes())
    what = "the key it had before is replaced" if replaced else "it is enrolled"
    _out.print(f"{found.name} ({found.address}) has signed for this node key: {what}.")
    if found.address not in facts.members:
        _out.print("It takes part once the study's sponsor has admitted it: `study admit`.")


@app.command()
def bond(home: _Home, as_json: JsonOption = False) -> None:
    """Post the bond that the study asks of its coordinators, from the coordinator's own tokens.

    Until it is posted, a coordinator cannot close rounds or take over. `coordinator release` gets
    it back when the study is over, unless a fraud was proven.

    Example:
      wardround coordinator bond fl
    """
    with _seated(home) as (ward, study, account):
        params = ward.params(study)
        if not ward.seat(study, account.address).bonded:
            StudyToken(ward.chain, params.token).approve(account, ward.address, params.bond)
        receipt = ward.post_bond(account, study)
        bond = tokens_of(params.bond, ward.decimals(study))
    words = f"bond of {bond} tokens posted by {account.address}"
    print_sent(receipt, words, as_json=as_json, amount=str(params.bond))


@app.command()
def release(home: _Home, as_json: JsonOption = False) -> None:
    """Take the bond back, once the study is over and its last round is final.

    Example:
      wardround coordinator release fl
    """
    with _seated(home) as (ward, study, account):
        amount = ward.seat(study, account.address).bond
        receipt = ward.release_bond(account, study, ward.last_closing(study))
        bond = tokens_of(amount, ward.decimals(study))
    words = f"bond of {bond} tokens returned to {account.address}"
    print_sent(receipt, words, as_json=as_json, amount=str(amount))


@app.command()
def renew(
    home: _Home,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it is valid.")] = SERVER_DAYS,
) -> None:
    """Make a new server certificate under the same authority; the sites need nothing new.

    Example:
      wardround coordinator renew fl
    """
    place = CoordinatorHome(home)
    server = load_coordinator_settings(home).require_server()
    now = datetime.now(UTC)
    check_time(place.authority, now, "make a new coordinator's folder and give it to the sites")
    issue_server(place.tls, [*server.names, *_LOOPBACK], now, days)
    ends = check_time(place.certificate, now, "set the clock")
    _out.print(f"{place.certificate} is valid until {ends:%Y-%m-%d}. Restart the coordinator.")


@app.command()
def run(
    home: _Home,
    standby: Annotated[
        bool,
        typer.Option("--standby", help="Wait for its turn while another coordinator is active."),
    ] = False,
    leave: Annotated[
        bool,
        typer.Option(
            "--leave",
            help="End with its last turn, where another process answers demands.",
        ),
    ] = False,
) -> None:
    """Run a study to its end: SuperLink, its door to the sites, and every round.

    It goes on at the chain's position, so it may be stopped and started again at any time. With
    --standby it watches the chain, takes over when the active coordinator is silent for longer
    than a round and its grace, and waits again while another is active. After the last round, or
    where another took its turn, it stays until all that it closed or locked is final or gone, and
    answers demands about it: a demand that stays without an answer costs the bond.

    Examples:
      wardround coordinator run fl

      wardround coordinator run fl-b --standby
    """
    # Flower takes seconds to import, and only this command needs it.
    from wardround_coordinator.service import Service

    with stop_asked() as stopped:
        service: Service = Service(
            CoordinatorHome(home), _say, lambda: datetime.now(UTC), stopped, standby, not leave
        )
        finished = service.run()
    if not finished:
        raise typer.Exit(130)


@contextmanager
def _seated(home: Path) -> Iterator[tuple[WardRound, StudyId, LocalAccount]]:
    """Open a coordinator's study, with the key that acts in it."""
    settings = load_coordinator_settings(home)
    with settings.study.opened() as ward:
        yield ward, settings.study_id, read_key(home / settings.coordinator.key_file)


def _say(words: str) -> None:
    _out.show(f"{datetime.now():%H:%M:%S} {words}")
