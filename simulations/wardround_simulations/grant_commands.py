"""``wardround grants ...``: the sponsor says who may read what a study keeps confidential."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from wardround.chain.chain import connected
from wardround.chain.grants import Grants
from wardround.chain.ward_round import WardRound
from wardround.host.key_file import read_key
from wardround.protocol.identifiers import StudyId, address_of, bytes32
from wardround.store.confidential import ConfidentialStore
from wardround.store.errors import NotGranted
from wardround.store.reading_key import wrap
from wardround.store.study_store import open_study_store

app = typer.Typer(
    name="grants",
    help="Say on chain who may read a study's encrypted updates and models; the sponsor alone.",
    epilog="A reader makes his key with: wardround store keygen FILE",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
_out = Console(highlight=False, soft_wrap=True)

StudyArgument = Annotated[str, typer.Argument(help="The study's id, 0x and 64 digits.")]
ReaderArgument = Annotated[str, typer.Argument(help="The reader's address.")]
RpcOption = Annotated[str, typer.Option(help="JSON-RPC endpoint of the chain.")]
GrantsOption = Annotated[str, typer.Option("--grants", help="Address of the Grants contract.")]
KeyOption = Annotated[Path, typer.Option(help="File with the key that signs and pays for gas.")]


@app.command()
def deploy(
    rpc: RpcOption,
    contract: Annotated[str, typer.Option(help="Address of the WardRound contract.")],
    key: KeyOption,
) -> None:
    """Create a Grants contract beside a WardRound contract; nobody owns it.

    Examples:
      wardround grants deploy --rpc http://127.0.0.1:8545 --contract 0x1234… --key sponsor.key
    """
    with connected(rpc) as chain:
        ward = WardRound(chain, address_of(contract))
        _out.print(f"grants contract: {Grants.deploy(ward, read_key(key)).address}")


@app.command()
def give(
    study: StudyArgument,
    reader: ReaderArgument,
    public_key: Annotated[str, typer.Argument(help="The reader's, from `store keygen`.")],
    rpc: RpcOption,
    grants: GrantsOption,
    key: KeyOption,
    store: Annotated[
        str | None,
        typer.Option(help="The study's store, to hand over the keys now: confidential:…&key=…"),
    ] = None,
) -> None:
    """Let an account read, all from the first round on.

    A running coordinator hands the keys over when it next writes. With --store, and the sponsor's
    own reading key in it, this command does so at once.

    Examples:
      wardround grants give 0x5e1f… 0xabcd… 0x77aa… --rpc … --grants 0x1234… --key sponsor.key
    """
    identity, account = StudyId(bytes32(study, "study")), address_of(reader)
    public = bytes32(public_key, "public key")
    wrap(bytes(32), public, b"")  # refuses what is no X25519 key before it is on chain
    signer = read_key(key)
    with connected(rpc) as chain:
        contract = Grants(chain, address_of(grants))
        sent = contract.grant(signer, identity, account, public)
        _out.print(f"{account} {'may read' if sent else 'could read before'}")
        if store is None:
            return
        ward = WardRound(chain, contract.ward_round())
        with closing(open_study_store(store, Path(), ward, identity, signer)) as opened:
            if not isinstance(opened, ConfidentialStore):
                raise typer.BadParameter("--store must begin with confidential:")
            opened.sync()
        _out.print(f"keys of every epoch handed to {account}")


@app.command()
def revoke(
    study: StudyArgument,
    reader: ReaderArgument,
    rpc: RpcOption,
    grants: GrantsOption,
    key: KeyOption,
) -> None:
    """Let an account read nothing that is written from now on.

    What it could read before, it may have kept.

    Examples:
      wardround grants revoke 0x5e1f… 0xabcd… --rpc … --grants 0x1234… --key sponsor.key
    """
    identity, account = StudyId(bytes32(study, "study")), address_of(reader)
    with connected(rpc) as chain:
        contract = Grants(chain, address_of(grants))
        if contract.revoke(read_key(key), identity, account) is None:
            raise NotGranted(account, study)
        _out.print(f"{account} may read nothing from epoch {contract.epoch(identity)} on")


@app.command("list")
def list_(study: StudyArgument, rpc: RpcOption, grants: GrantsOption) -> None:
    """List who may read now.

    Examples:
      wardround grants list 0x5e1f… --rpc … --grants 0x1234…
    """
    identity = StudyId(bytes32(study, "study"))
    with connected(rpc) as chain:
        contract = Grants(chain, address_of(grants))
        _out.print(f"epoch {contract.epoch(identity)}")
        for reader in contract.readers(identity):
            _out.print(f"{reader.account}  0x{reader.public_key.hex()}")
