"""``wardround explore``: the explorer in a browser."""

from __future__ import annotations

import ipaddress
import webbrowser
from contextlib import suppress
from typing import Annotated

import typer
import uvicorn
from starlette.types import ASGIApp

from wardround.chain.options import ChainIdOption
from wardround.explorer.commands import (
    Confirmations,
    Contract,
    IndexFile,
    Named,
    ReadingKeyFile,
    Rpc,
    StoreName,
)
from wardround.explorer.looking import indexed, named_source
from wardround.explorer.studies import only_study
from wardround.explorer.web import urls
from wardround.explorer.web.app import create_app
from wardround.explorer.web.explorer import Explorer
from wardround.host.screen import Screen
from wardround.protocol.errors import ScenarioError

_out = Screen(highlight=False, soft_wrap=True)
_err = Screen(stderr=True, highlight=False, soft_wrap=True)


def explore(
    run_or_study: Named = None,
    rpc: Rpc = None,
    chain_id: ChainIdOption = None,
    contract: Contract = None,
    store: StoreName = None,
    from_block: Annotated[
        int | None, typer.Option(min=0, help="Index from here; by default from its creation.")
    ] = None,
    reading_key: ReadingKeyFile = None,
    index: IndexFile = None,
    confirmations: Confirmations = None,
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
    with (
        named_source(*named) as (source, study),
        indexed(source, index, confirmations, follow=True) as reader,
    ):
        app = create_app(Explorer(reader, source), _hosts(host))
        _serve(app, host, port, study or only_study(reader), browser)


class _PageServer(uvicorn.Server):
    """Prints its address once it listens."""

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
        _out.show(f"explorer: {where}")
        _out.print("Press Ctrl-C to end it.")
        if self._browser:
            webbrowser.open(where)


def _serve(app: ASGIApp, host: str, port: int, study: str | None, browser: bool) -> None:
    if not _is_loopback(host):
        _err.show(
            f"warning: everybody who reaches {host} can read all of this, also the objects in the "
            "store and the names of sites; there is no login. Use 127.0.0.1 to keep it here.",
            style="yellow",
        )
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        ws="none",
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    server = _PageServer(config, study, browser)
    with suppress(SystemExit):  # uvicorn's own, where it cannot listen
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
    """Host headers that a server on loopback accepts; elsewhere its names are not known."""
    return ["localhost", "127.0.0.1", "[::1]", host] if _is_loopback(host) else None
