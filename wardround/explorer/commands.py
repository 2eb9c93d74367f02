"""Commands of a reader: the events, a live view, and evidence in an archive."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter
from rich.console import Group
from rich.live import Live

from wardround.chain.options import ChainIdOption
from wardround.explorer.errors import QueryInvalid
from wardround.explorer.events import EventFilter, event_names, event_pages
from wardround.explorer.evidence import export as write_evidence
from wardround.explorer.indexer import CONFIRMATIONS
from wardround.explorer.looking import indexed, named_source
from wardround.explorer.news import IndexWatch
from wardround.explorer.parameters import address, hex32
from wardround.explorer.reader import Reader
from wardround.explorer.rows import EventRow
from wardround.explorer.screen import picture
from wardround.explorer.studies import only_study
from wardround.host.screen import Screen

_out = Screen(highlight=False, soft_wrap=True)
_err = Screen(stderr=True, highlight=False, soft_wrap=True)
_JSON = TypeAdapter(EventRow)
_POLL_SECONDS = 0.05
_FRAME_SECONDS = 0.5

Named = Annotated[
    str | None,
    typer.Argument(
        help="Folder of a run; or a study's id, with --rpc and --contract; "
        "without it, all studies of the contract."
    ),
]
Rpc = Annotated[
    str | None, typer.Option("--rpc", "--chain", help="JSON-RPC endpoint of the chain.")
]
Contract = Annotated[str | None, typer.Option(help="Address of the contract.")]
ReadingKeyFile = Annotated[
    Path | None,
    typer.Option(help="For a run with an encrypted store: a key that has a grant."),
]
StoreName = Annotated[str | None, typer.Option(help="Content store.")]
IndexFile = Annotated[
    Path | None, typer.Option(help="Index file; by default one in the user's cache.")
]
Confirmations = Annotated[
    int | None,
    typer.Option(
        min=0,
        help=f"Blocks behind the tip that may still change; {CONFIRMATIONS} if not given.",
    ),
]


def events(
    run_or_study: Named = None,
    rpc: Rpc = None,
    contract: Contract = None,
    chain_id: ChainIdOption = None,
    index: IndexFile = None,
    study: Annotated[str | None, typer.Option(help="Of this study.")] = None,
    site: Annotated[str | None, typer.Option(help="About this site: a name or address.")] = None,
    round_number: Annotated[
        int | None, typer.Option("--round", min=0, help="Of this round.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of this name, such as RoundClosed.")] = None,
    from_block: Annotated[int | None, typer.Option(min=0, help="Not before this block.")] = None,
    to_block: Annotated[int | None, typer.Option(min=0, help="Not after this block.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on as more come.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object an event.")] = False,
    confirmations: Confirmations = None,
) -> None:
    """List what happened, oldest first, with the range of indexed blocks.

    Examples:
      wardround events runs/demo

      wardround events runs/demo --name RoundClosed --json

      wardround events --rpc http://127.0.0.1:8545 --contract 0x1234… --site 0x5678… --follow
    """
    with named_source(run_or_study, rpc, contract, None, chain_id) as (source, meant):
        if follow and not source.live:
            raise typer.BadParameter("--follow: this run is over, nothing more will come")
        if meant is not None and study is not None:
            raise typer.BadParameter("--study: the study is named already, leave one of both out")
        with indexed(source, index, confirmations) as reader:
            chosen = EventFilter(
                study=None if (named := study or meant) is None else hex32(named, "--study"),
                round=round_number,
                site=_site(reader, site),
                name=_name(name),
                from_block=from_block,
                to_block=to_block,
            )
            count, last = 0, None
            for row in chain.from_iterable(event_pages(reader, chosen)):
                _show(row, as_json)
                count, last = count + 1, row.cursor
            extent = reader.extent()
        words = "event" if count == 1 else "events"
        span = f"blocks {extent.first_block} to {extent.last_block}"
        _err.print(f"{count} {words} in {span}", style="dim")
        if not follow:
            return
        with indexed(source, index, confirmations, follow=True) as reader:
            _follow(reader, chosen, last or str(extent.last_block << 20 | 0xFFFFF), as_json)


def watch(
    run_or_study: Named = None,
    rpc: Rpc = None,
    contract: Contract = None,
    store: StoreName = None,
    chain_id: ChainIdOption = None,
    index: IndexFile = None,
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    confirmations: Confirmations = None,
) -> None:
    """Watch studies, rounds and sites in this terminal, with what needs attention.

    Examples:
      wardround watch --rpc http://127.0.0.1:8545 --contract 0x1234… --store ./store

      wardround watch runs/demo
    """
    with named_source(run_or_study, rpc, contract, store, chain_id) as (source, study):
        live = source.live and not once
        with indexed(source, index, confirmations, follow=live) as reader:
            if not live:
                for part in picture(reader, study, time.time()):
                    Screen(highlight=False).print(part)
                return
            _watch(reader, study)


def export(
    run_or_study: Annotated[
        str,
        typer.Argument(help="Folder of a run; or a study's id, with --rpc, --contract, --store."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The archive to write.")],
    round_number: Annotated[
        int | None, typer.Option("--round", min=1, help="This round alone.")
    ] = None,
    rpc: Rpc = None,
    contract: Contract = None,
    store: StoreName = None,
    chain_id: ChainIdOption = None,
    index: IndexFile = None,
    reading_key: ReadingKeyFile = None,
) -> None:
    """Write a study, or one round, into one archive that can be verified offline.

    Examples:
      wardround export runs/demo -o evidence.zip

      wardround export runs/demo --round 3 -o round-3.zip

      wardround export 0x5e1f… --rpc … --contract … --store ./store -o evidence.zip
    """
    named = (run_or_study, rpc, contract, store, chain_id)
    with named_source(*named, reading_key=reading_key) as (source, meant):
        with indexed(source, index) as reader:
            study = meant or only_study(reader)
            if study is None:
                reason = "there are several, or none: name one, with --rpc and --contract"
                raise QueryInvalid("study", reason)
            missing = write_evidence(source, reader, study, round_number, output)
        for one in missing:
            _err.show(f"missing: {one}", style="yellow")
        _out.print(f"{output}: {output.stat().st_size:,} bytes. Verify it with")
        _out.show(f"  wardround audit {output}")


def _watch(reader: Reader, study: str | None) -> None:
    console = Screen(highlight=False)
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as screen:
        while True:
            # The clock too: deadlines come nearer when nothing happens.
            screen.update(Group(*picture(reader, study, time.time())), refresh=True)
            time.sleep(_FRAME_SECONDS)


def _follow(reader: Reader, chosen: EventFilter, last: str, as_json: bool) -> None:
    watch = IndexWatch(reader)
    while True:
        for row in chain.from_iterable(event_pages(reader, chosen, last)):
            _show(row, as_json)
            last = row.cursor
        change = watch.poll()
        for gone in change.reorganisations if change else ():
            _err.print(
                f"the chain has reorganised: {gone.events_removed} events behind block "
                f"{gone.ancestor} are no longer valid",
                style="yellow",
            )
            last = str(min(int(last), (gone.ancestor + 1) << 20))
        if change is None:
            time.sleep(_POLL_SECONDS)


def _show(row: EventRow, as_json: bool) -> None:
    if as_json:
        print(_JSON.dump_json(row).decode(), flush=True)
        return
    at = datetime.fromtimestamp(row.timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S")
    details = " ".join(f"{key} {_short(value)}" for key, value in row.args.items())
    _out.show(f"{row.block:>8}  {at}  {row.name:<20}  {details}")


def _short(value: Any) -> str:
    if isinstance(value, str) and value.startswith("0x") and len(value) > 12:
        return value[:10] + "…"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} {_short(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_short, value)) + "]"
    return str(value)


def _site(reader: Reader, text: str | None) -> str | None:
    if text is None:
        return None
    called = {name: address for address, name in reader.names().items()}
    return called.get(text) or address(text, "--site")


def _name(text: str | None) -> str | None:
    if text is not None and text not in event_names():
        known = ", ".join(event_names())
        raise QueryInvalid("--name", f"there is no event {text}; there are {known}")
    return text
