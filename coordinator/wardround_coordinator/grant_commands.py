"""``wardround grants ...``: the sponsor lets accounts read what a study keeps confidential."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from wardround.chain.chain import connected
from wardround.chain.grants import Grants
from wardround.chain.options import (
    ChainOption,
    ContractOption,
    KeyOption,
    StudyArgument,
    print_sent,
    study_of,
)
from wardround.chain.ward_round import WardRound
from wardround.host.commands import Commands
from wardround.host.key_file import read_key
from wardround.host.screen import Screen
from wardround.protocol.identifiers import address_of, bytes32
from wardround.store.confidential import ConfidentialStore
from wardround.store.errors import not_granted
from wardround.store.reading_key import wrap
from wardround.store.study_store import PREFIX, open_study_store

app = Commands(epilog="A reader makes a key with: wardround store keygen FILE")
_out = Screen(highlight=False, markup=False, soft_wrap=True)

_Reader = Annotated[str, typer.Argument(help="The reader's address.")]
_Grants = Annotated[str, typer.Option("--grants", help="Address of the Grants contract.")]


@app.command()
def deploy(chain: ChainOption, contract: ContractOption, key: KeyOption) -> None:
    """Create a Grants contract beside a WardRound contract; it has no owner.

    Examples:
      wardround grants deploy --chain http://127.0.0.1:8545 --contract 0x1234… --key sponsor.key
    """
    with WardRound.at(chain, None, contract) as ward:
        grants = Grants.deploy(ward.chain, read_key(key), ward.address)
        _out.print(f"grants contract: {grants.address}")


@app.command()
def give(
    study: StudyArgument,
    reader: _Reader,
    public_key: Annotated[str, typer.Argument(help="The reader's, from `store keygen`.")],
    chain: ChainOption,
    grants: _Grants,
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
      wardround grants give 0x5e1f… 0xabcd… 0x77aa… --chain … --grants 0x1234… --key sponsor.key
    """
    identity, account = study_of(study), address_of(reader)
    public = bytes32(public_key, "public key")
    wrap(bytes(32), public, b"")  # refuses what is no X25519 key before it is on chain
    signer = read_key(key)
    if store is not None and not store.startswith(PREFIX):
        raise typer.BadParameter(f"--store must begin with {PREFIX}")
    with connected(chain) as opened:
        contract = Grants(opened, address_of(grants))
        print_sent(contract.grant(signer, identity, account, public), f"{account} may read")
        if store is None:
            return
        ward = WardRound.opened(opened, contract.ward_round())
        with closing(open_study_store(store, Path(), ward, identity, signer)) as objects:
            assert isinstance(objects, ConfidentialStore)  # by its prefix
            objects.sync()
        _out.print(f"keys of every epoch handed to {account}")


@app.command()
def revoke(
    study: StudyArgument, reader: _Reader, chain: ChainOption, grants: _Grants, key: KeyOption
) -> None:
    """Let an account read nothing that is written from now on.

    What it could read before, it may have kept.

    Examples:
      wardround grants revoke 0x5e1f… 0xabcd… --chain … --grants 0x1234… --key sponsor.key
    """
    identity, account = study_of(study), address_of(reader)
    with connected(chain) as opened:
        contract = Grants(opened, address_of(grants))
        receipt = contract.revoke(read_key(key), identity, account)
        if receipt is None:
            raise not_granted(account, study)
        print_sent(receipt, f"{account} may read nothing from epoch {contract.epoch(identity)} on")


@app.command("list")
def list_(study: StudyArgument, chain: ChainOption, grants: _Grants) -> None:
    """List who may read now.

    Examples:
      wardround grants list 0x5e1f… --chain … --grants 0x1234…
    """
    identity = study_of(study)
    with connected(chain) as opened:
        contract = Grants(opened, address_of(grants))
        WardRound.opened(opened, contract.ward_round()).study(identity)  # refuses an unknown one
        _out.print(f"epoch {contract.epoch(identity)}")
        for reader in contract.readers(identity):
            _out.print(f"{reader.account}  0x{reader.public_key.hex()}")
