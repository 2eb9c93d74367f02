"""``wardround explore``: the explorer in a browser."""

from __future__ import annotations

import ipaddress
import time
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from rich.console import Console
from starlette.applications import Starlette

from wardround.explorer.indexer import CONFIRMATIONS
from wardround.explorer.looking import indexed, named_source, open_indexer
from wardround.explorer.reader import Reader
from wardround.explorer.studies import list_studies
from wardround.explorer.web import urls
from wardround.explorer.web.app import create_app
from wardround.explorer.web.explorer import Explorer
from wardround.protocol.errors import ScenarioError, WardroundError

_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)


def explore(
    run_or_study: Annotated[
        str | None,
        typer.Argument(
            help="Folder of a run; or a study's id, with --rpc and --contract; "
            "without it, all studies of the contract."
        ),
    ] = None,
    rpc: Annotated[str | None, typer.Option(help="JSON-RPC endpoint of the chain.")] = None,
    chain_id: Annotated[
        int | None, typer.Option(min=1, max=2**53 - 1, help="Accept this chain id only.")
    ] = None,
    contract: Annotated[str | None, typer.Option(help="Address of the contract.")] = None,
    store: Annotated[str | None, typer.Option(help="Content store.")] = None,
    from_block: Annotated[
        int | None, typer.Option(min=0, help="Index from here; by default from its creation.")
    ] = None,
    reading_key: Annotated[
        Path | None,
        typer.Option(help="For a run with an encrypted store: a key that has a grant."),
    ] = None,
    index: Annotated[
        Path | None, typer.Option(help="Index file; by default one in the user's cache.")
    ] = None,
    confirmations: Annotated[
        int, typer.Option(min=0, help="Blocks behind the tip that may still change.")
    ] = CONFIRMATIONS,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8600,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
) -> None:
    """Look at studies, rounds, sites and rewards in a browser, and check them there.

    Examples:
      wardround explore runs/demo

      wardround explore --rpc http://127.0.0.1:8545 --contract 0x1234… --store ./store

      wardround explore 0x5e1f… --rpc … --contract … --store … --port 0 --no-browser
    """
    named = (run_or_study, rpc, contract, store, chain_id, from_block, reading_key)
    with named_source(*named) as (source, study):
        indexer = open_indexer(source, index, confirmations)
        with indexed(indexer, follow=True, failed=_tell_failure) as reader:
            app = create_app(Explorer(reader, source, time.time), _hosts(host))
            _serve(app, host, port, study or _only_study(reader), browser)


def _only_study(reader: Reader) -> str | None:
    """The study that a page opens with: the only one there is, as in a run's folder."""
    found = list_studies(reader, limit=2).rows
    return found[0].study if len(found) == 1 else None


def _tell_failure(error: WardroundError) -> None:
    # The page shows it too; what is indexed stays readable.
    _err.print(f"index stopped: {error}", style="red", markup=False)


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, study: str | None, browser: bool) -> None:
        super().__init__(config)
        self._study = study
        self._browser = browser

    async def startup(self, sockets: list | None = None) -> None:  # type: ignore[type-arg]
        await super().startup(sockets)
        if not self.started:
            return
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        where = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        where += urls.study(self._study) if self._study else "/"
        _out.print(f"explorer: {where}", markup=False)
        _out.print("Press Ctrl-C to end it.")
        if self._browser:
            webbrowser.open(where)


def _serve(app: Starlette, host: str, port: int, study: str | None, browser: bool) -> None:
    if not _is_loopback(host):
        _err.print(
            f"warning: everybody who reaches {host} can read all of this, also what the store "
            "holds and the names of sites; there is no login. Use 127.0.0.1 to keep it here.",
            style="yellow",
            markup=False,
        )
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    server = _Server(config, study, browser)
    server.run()
    if not server.started:
        raise ScenarioError(f"{host}:{port}", "nothing can listen there: choose another --port")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hosts(host: str) -> list[str] | None:
    """Names that a server on loopback answers to; elsewhere its owner knows them."""
    return ["localhost", "127.0.0.1", "[::1]", host] if _is_loopback(host) else None
