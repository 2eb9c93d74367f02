"""``wardround study ...``: what a sponsor does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from wardround.chain.chain import connected
from wardround.chain.ward_round import WardRound
from wardround.host.key_file import read_key, write_new_key
from wardround.protocol.documents import decode_text
from wardround.protocol.errors import SpecificationError
from wardround.protocol.identifiers import StudyId, address_of, bytes32
from wardround.protocol.study import load_study
from wardround.store import open_store

app = typer.Typer(
    name="study",
    help="Sponsor a study: create and fund it, admit sites, open it.",
    epilog="Start with: wardround study keygen sponsor.key",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
_out = Console(highlight=False, soft_wrap=True)

_Study = Annotated[str, typer.Argument(help="The study's id, 0x and 64 digits.")]
_Site = Annotated[str, typer.Argument(help="The site's address, from `wardround site init`.")]
_Chain = Annotated[str, typer.Option(help="JSON-RPC endpoint.")]
_ChainId = Annotated[int | None, typer.Option(min=1, max=2**53 - 1, help="Accept only this one.")]
_Contract = Annotated[str, typer.Option(help="Address of the WardRound contract.")]
_Key = Annotated[Path, typer.Option(help="File with the sponsor's key; it pays for gas too.")]


@app.command()
def keygen(file: Annotated[Path, typer.Argument(help="A new file for the key.")]) -> None:
    """Make a key for a sponsor or a coordinator; its address needs the chain's currency for gas.

    Example:
      wardround study keygen sponsor.key
    """
    if file.exists():
        raise SpecificationError(str(file), None, "", "the file is there already: name another one")
    _out.print(f"address      {write_new_key(file).address}")
    _out.print(f"key          {file}   back it up, show it to nobody")


@app.command()
def create(
    file: Annotated[Path, typer.Argument(help="The study's TOML file: docs/study-file.md.")],
    chain: _Chain,
    key: _Key,
    coordinator: Annotated[
        list[str], typer.Option(help="Its address; repeat it for standbys, in their order.")
    ],
    store: Annotated[str, typer.Option(help="Content store that the coordinator will use.")],
    chain_id: _ChainId = None,
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
    """Create a study and pay its rewards in. Nothing of it can be changed afterwards.

    It pins the digest of the code that is installed here: sites run that and nothing else.

    Example:
      wardround study create study.toml --chain http://127.0.0.1:8545 --key sponsor.key
      --coordinator 0xabcd… --store fl/store
    """
    # PyTorch takes seconds to import, and only this command needs it.
    from wardround_coordinator.sponsoring import create_study

    spec = load_study(decode_text(file.read_bytes(), str(file)), str(file))
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
            say=_out.print,
        )
    _out.print("Next: `wardround study admit` for each site, then `wardround study open`.")


@app.command()
def admit(
    study: _Study,
    site: _Site,
    chain: _Chain,
    contract: _Contract,
    key: _Key,
    payout: Annotated[str, typer.Option(help="Where its rewards go: not its signing key.")],
    max_weight: Annotated[
        int, typer.Option(min=1, max=2**31 - 1, help="How many examples it may count at most.")
    ],
    chain_id: _ChainId = None,
) -> None:
    """Admit a site, from the round being worked on.

    Example:
      wardround study admit 0x5e1f… 0xabcd… --chain … --contract 0x1234… --key sponsor.key
      --payout 0x77aa… --max-weight 500
    """
    with _opened(chain, chain_id, contract) as ward:
        identity, address = StudyId(bytes32(study, "study")), address_of(site)
        sent = ward.admit_site(read_key(key), identity, address, address_of(payout), max_weight)
    what = "admitted" if sent is not None else "was admitted so before"
    _out.print(f"{address} {what}: at most {max_weight} examples, paid at {address_of(payout)}")


@app.command()
def remove(
    study: _Study,
    site: _Site,
    chain: _Chain,
    contract: _Contract,
    key: _Key,
    chain_id: _ChainId = None,
) -> None:
    """Remove a site from the next round on; what it has earned stays its own.

    Example:
      wardround study remove 0x5e1f… 0xabcd… --chain … --contract 0x1234… --key sponsor.key
    """
    with _opened(chain, chain_id, contract) as ward:
        address = address_of(site)
        sent = ward.remove_site(read_key(key), StudyId(bytes32(study, "study")), address)
    _out.print(f"{address} {'is removed' if sent is not None else 'was removed before'}")


@app.command("open")
def open_(
    study: _Study, chain: _Chain, contract: _Contract, key: _Key, chain_id: _ChainId = None
) -> None:
    """Open round 1. The coordinator may start, and its clock runs.

    Example:
      wardround study open 0x5e1f… --chain … --contract 0x1234… --key sponsor.key
    """
    with _opened(chain, chain_id, contract) as ward:
        ward.open_study(read_key(key), StudyId(bytes32(study, "study")))
    _out.print("round 1 is open")


@contextmanager
def _opened(chain: str, chain_id: int | None, contract: str) -> Iterator[WardRound]:
    with connected(chain, chain_id) as opened:
        yield WardRound(opened, address_of(contract))
