"""What `wardround watch` shows: the index, what needs attention, studies, rounds and sites."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from wardround.chain.amounts import tokens_of
from wardround.explorer.errors import NotIndexed
from wardround.explorer.events import EventFilter, list_events
from wardround.explorer.reader import Reader
from wardround.explorer.rounds import read_open_round
from wardround.explorer.rows import Health, RoundRow, StudyRow
from wardround.explorer.studies import list_studies, read_study, study_rounds
from wardround.host.screen import visible

_ROUNDS, _STUDIES, _SITES = 8, 8, 20
#: A block this old on a chain that should have new ones is worth a word.
_QUIET_SECONDS = 600

_STATES = {"final": "green", "closed": "", "overturned": "red", "open": "", "over": "green"}


def picture(reader: Reader, study: str | None, now: float) -> Iterator[RenderableType]:
    """Everything, from top to bottom.

    Args:
        reader: the index.
        study: the one to show; by default the newest.
        now: seconds since 1970, for deadlines.
    """
    with reader.look():
        health = reader.health()
        yield _head(health, now)
        studies = list_studies(reader, limit=_STUDIES).rows
        shown = study or (studies[0].study if studies else None)
        alerts = list(_alerts(reader, health, shown, now))
        for alert in alerts:
            yield Text(visible(f"! {alert}"), style="bold yellow")
        yield _studies(studies, shown)
        if shown is None:
            return
        try:
            yield from _one(reader, shown, now)
        except NotIndexed as error:
            yield Text(visible(str(error)), style="yellow")


def _head(health: Health, now: float) -> Text:
    extent = health.extent
    words = (
        f"{health.source}  chain {health.chain_id}  block {extent.last_block:,}"
        f" of {max(health.head, extent.last_block):,}  {health.events:,} events  "
    )
    text = Text(words)
    text.append(health.state, style="bold green" if not health.trouble else "bold red")
    return text


def _alerts(reader: Reader, health: Health, study: str | None, now: float) -> Iterator[str]:
    if health.trouble:
        yield health.trouble
    if health.headers == "not recomputable":
        yield "this chain's block hashes cannot be recomputed here: the node is taken at its word"
    if health.last_reorganisation is not None:
        last = health.last_reorganisation
        gone = last.old_tip - last.ancestor
        yield (
            f"{health.reorganisations} reorganisations seen, the last {_time(last.seen_at)}: "
            f"{gone} blocks and {last.events_removed} events gave way"
        )
    if health.state == "following" and now > health.extent.last_timestamp + _QUIET_SECONDS:
        yield f"no new block since {_time(health.extent.last_timestamp)}"
    if study is None:
        return
    for row in study_rounds(reader, study, limit=_ROUNDS).rows:
        if row.state == "overturned":
            yield f"round {row.round} closed by {row.coordinator[:10]}… was overturned"
        elif row.manifest not in ("verified", "pending"):
            yield f"the manifest of round {row.round} is {row.manifest.replace('_', ' ')}"
    try:
        opened = read_open_round(reader, study)
    except NotIndexed:
        return
    if health.state == "following" and now > opened.deadline:
        yield f"round {opened.round} is past its deadline, {_time(opened.deadline)}"


def _studies(rows: list[StudyRow], shown: str | None) -> Table:
    numbers = (">rounds", ">sites", ">funded", ">paid", ">in escrow")
    table = _table("study", "id", "state", *numbers)
    for row in rows:
        style = "bold" if row.study == shown else ""
        table.add_row(
            escape(row.name or "–"),
            row.study[:10] + "…",
            Text(row.state, style=_STATES.get(row.state, "")),
            f"{row.closed}/{row.rounds}",
            str(row.sites),
            *(
                tokens_of(int(amount), row.decimals)
                for amount in (row.funds.funded, row.funds.paid, row.funds.remaining)
            ),
            style=style,
        )
    return table


def _one(reader: Reader, study: str, now: float) -> Iterator[RenderableType]:
    found = read_study(reader, study)
    decimals = found.summary.decimals
    try:
        opened = read_open_round(reader, study)
        left = int(opened.deadline - now)
        registered = EventFilter(study=study, round=opened.round, name="Registered")
        arrived = len(list_events(reader, registered).rows)
        words = f"round {opened.round} is open since {_time(opened.opened_at)}, "
        words += f"{left:,} s are left" if left > 0 else f"{-left:,} s past its deadline"
        if arrived:
            words += f", {arrived} contributions are registered on chain"
        yield Text(words)
    except NotIndexed:
        pass
    yield _rounds(study_rounds(reader, study, limit=_ROUNDS).rows)
    sites = _table("site", "address", ">rounds", ">weight", ">earned", ">paid")
    for member in found.members[:_SITES]:
        sites.add_row(
            escape(member.name or "–"),
            member.site[:10] + "…",
            str(member.contributions),
            f"{member.weight:,}",
            "–" if member.earned is None else tokens_of(int(member.earned), decimals),
            tokens_of(int(member.paid), decimals),
        )
    yield sites
    if len(found.members) > _SITES:
        yield Text(f"… and {len(found.members) - _SITES} more sites", style="dim")


def _rounds(rows: list[RoundRow]) -> Table:
    columns = (">round", "state", "closed at", "model", "manifest", ">sites", ">gas")
    table = _table(*columns, no_wrap=True)
    for row in rows:
        table.add_row(
            str(row.round),
            Text(row.state, style=_STATES.get(row.state, "")),
            _time(row.closed_at)[5:16],
            row.model[:10],
            row.manifest.replace("_", " "),
            f"{row.contributors}" + (f" (−{row.dropped})" if row.dropped else ""),
            "–" if row.gas is None else f"{row.gas:,}",
        )
    return table


def _table(*columns: str, no_wrap: bool = False) -> Table:
    """A table without rows; names of columns that are set to the right begin with ``>``."""
    table = Table(box=SIMPLE_HEAD, header_style="bold")
    for name in columns:
        justify: JustifyMethod = "right" if name.startswith(">") else "left"
        table.add_column(name.removeprefix(">"), justify=justify, no_wrap=no_wrap)
    return table


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
