"""``wardround explore``: the explorer in a browser."""

from __future__ import annotations

import ipaddress
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from platformdirs import user_cache_path
from rich.console import Console
from starlette.applications import Starlette

from explorer.indexer import CONFIRMATIONS, Indexer
from explorer.reader import Reader
from explorer.source import Source, chain_source, run_source
from explorer.web import urls
from explorer.web.app import create_app
from explorer.web.explorer import Explorer
from protocol.errors import ScenarioError, WardroundError
from protocol.identifiers import bytes32

_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)
_STOP_SECONDS = 5.0


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
    with _source(run_or_study, rpc, chain_id, contract, store, from_block) as (source, study):
        path = index or _index_file(source)
        indexer = Indexer(source, path, confirmations)
        try:
            if not source.live:
                indexer.catch_up()
            reader = Reader(path)
            try:
                app = create_app(Explorer(reader, source, time.time), _hosts(host))
                with _following(indexer, source):
                    _serve(app, host, port, study, browser)
            finally:
                reader.close()
        finally:
            indexer.close()


@contextmanager
def _source(
    run_or_study: str | None,
    rpc: str | None,
    chain_id: int | None,
    contract: str | None,
    store: str | None,
    from_block: int | None,
) -> Iterator[tuple[Source, str | None]]:
    if run_or_study is not None and not run_or_study.startswith("0x"):
        if rpc is not None or contract is not None or store is not None:
            raise typer.BadParameter("a run's folder says where its chain and store are")
        with run_source(Path(run_or_study)) as source:
            yield source, next((study for study, _ in source.statements), None)
        return
    if run_or_study is not None:
        bytes32(run_or_study, "study")
    if rpc is None or contract is None:
        raise ScenarioError(
            run_or_study or "explore", "name a run's folder, or a chain with --rpc and --contract"
        )
    with chain_source(rpc, contract, store, chain_id, from_block) as source:
        yield source, run_or_study


def _index_file(source: Source) -> Path:
    """One file a source: development chains share ids and addresses, so by its name too."""
    named = "\n".join([str(Path(source.name).resolve()), *source.identity.values()])
    if source.live:
        named = "\n".join([source.name, *source.identity.values()])
    name = sha256(named.encode()).hexdigest()[:16]
    return user_cache_path("wardround") / "explorer" / f"{name}.sqlite"


@contextmanager
def _following(indexer: Indexer, source: Source) -> Iterator[None]:
    """Keep the index up with a live chain, in a thread of its own."""
    if not source.live:
        yield
        return
    stop = threading.Event()

    def follow() -> None:
        try:
            indexer.run(stop)
        except WardroundError as error:
            # The page shows it too; what is indexed stays readable.
            _err.print(f"index stopped: {error}", style="red", markup=False)

    thread = threading.Thread(target=follow, name="indexer", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_STOP_SECONDS)


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
