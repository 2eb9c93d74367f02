"""``wardround store ...``: reading keys, and the gateway to a confidential store."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from wardround.chain.chain import connected
from wardround.chain.grants import Grants
from wardround.chain.options import ChainOption
from wardround.host.commands import Commands
from wardround.host.screen import Screen
from wardround.protocol.errors import ScenarioError
from wardround.protocol.identifiers import address_of
from wardround.store import ReplicatedStore, open_store
from wardround.store.gateway import Gateway
from wardround.store.reading_key import write_new_reading_key
from wardround.store.study_store import local_vault

app = Commands(epilog="Start with: wardround store keygen reader.key")
_out = Screen(highlight=False, soft_wrap=True)


@app.command()
def keygen(file: Annotated[Path, typer.Argument(help="A new file for the private key.")]) -> None:
    """Make a reading key; the public key printed goes to the sponsor.

    A reader who loses the file is granted again with another key. A thief of the file reads all
    that its owner may read.

    Examples:
      wardround store keygen reader.key
    """
    _out.print(f"public key: 0x{write_new_reading_key(file).public.hex()}")
    _out.print(f"private key in {file}: back it up, show it to no one")


@app.command()
def serve(
    store: Annotated[str, typer.Argument(help="The content store, as the coordinator names it.")],
    chain: ChainOption,
    grants: Annotated[str, typer.Option("--grants", help="Address of the Grants contract.")],
    index: Annotated[
        Path | None, typer.Option(help="Folder of the index, where the store is no folder.")
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for a free one.")] = 8600,
) -> None:
    """Serve documents to everyone, and encrypted objects to the readers that the chain names.

    It speaks plain HTTP: put a proxy with TLS before it. It holds no key to what it serves.

    Examples:
      wardround store serve ./store --chain http://127.0.0.1:8545 --grants 0x1234…
    """
    with connected(chain) as opened:
        contract = Grants(opened, address_of(grants))
        contract.ward_round()  # fails at once when there is no such contract
        vault = local_vault(store, Path(), None if index is None else str(index))
        config = uvicorn.Config(
            Gateway(vault, contract, time.time).app(),
            host=host,
            port=port,
            log_level="warning",
            ws="none",
            lifespan="off",
        )
        server = _GatewayServer(config)
        with suppress(SystemExit):  # uvicorn's own, where it cannot listen
            server.run()
        if not server.started:
            raise ScenarioError(f"{host}:{port}", "nothing can listen there: choose another --port")


@app.command()
def repair(
    store: Annotated[str, typer.Argument(help="Addresses of the replicas, commas between.")],
) -> None:
    """Give every replica of a store what it lacks or has damaged.

    Examples:
      wardround store repair ipfs://10.0.0.1:5001,ipfs://10.0.0.2:5001
    """
    opened = open_store(store)
    if not isinstance(opened, ReplicatedStore):
        raise typer.BadParameter("name several stores, with commas between")
    try:
        given = opened.repair()
    finally:
        opened.close()
    _out.print(f"{given} objects given to replicas that lacked them; now all are whole")


class _GatewayServer(uvicorn.Server):
    """Prints its address once it listens: with port 0 the system chooses one."""

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup()
        if self.started and self.servers:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            _out.print(f"serving on http://{host}:{port}; end with Ctrl-C")
