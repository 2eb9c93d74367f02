"""The event log: filtered, in pages, and as CSV or JSON lines of any length."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from wardround.explorer.web import urls
from wardround.explorer.web.explorer import Explorer
from wardround.explorer.web.parameters import NotUnderstood, address, given, hex32, number
from wardround.explorer.web.queries import Wanted, event_names, last_id, newest
from wardround.explorer.web.rows import EventRow

_PAGE = 50
_EXPORT_PART = 500
_ROUNDS = 2**32 - 1
_COLUMNS = (
    "block", "block_hash", "time", "transaction", "log_index", "contract", "event", "study",
    "round", "site", "decoded", "topics", "data",
)  # fmt: skip


def wanted_of(query: Mapping[str, str]) -> Wanted:
    """Read a filter.

    Raises:
        NotUnderstood: a value that its field cannot have.
    """
    name = given(query, "name")
    if name is not None and name not in event_names():
        raise NotUnderstood(f"no event is called {name[:60]!r}")
    study, site = given(query, "study"), given(query, "site")

    def whole(field: str, high: int) -> int | None:
        text = given(query, field)
        return None if text is None else number(text, field.replace("_", " "), 0, high)

    return Wanted(
        name=name,
        study=None if study is None else hex32(study, "study"),
        site=None if site is None else address(site, "site"),
        round=whole("round", _ROUNDS),
        round_to=whole("round_to", _ROUNDS),
        block=whole("block", 2**40),
        block_to=whole("block_to", 2**40),
    )


def log_page(explorer: Explorer, query: Mapping[str, str]) -> bytes:
    """A page of the log.

    Raises:
        NotUnderstood: a filter that means nothing.
    """
    wanted = wanted_of(query)
    text = given(query, "before")
    before = None if text is None else number(text, "before", 0, 10**18)
    reader = explorer.reader
    with reader.look():
        found = newest(reader, wanted, _PAGE + 1, before)
        index = explorer.index()
        since = last_id(reader)
    shown = found[:_PAGE]
    extent = index.extent
    said = wanted.words()
    blocks = f"indexed blocks {extent.first_block:,} to {extent.last_block:,}"
    older = urls.events(**wanted.query(), before=shown[-1].id) if len(found) > _PAGE else None
    return explorer.pages.render(
        "events.html",
        page="events",
        index=index,
        since=since,
        names=event_names(),
        filters=wanted,
        events=shown,
        title=f"{wanted.name or 'Events'} {said}".strip(),
        negative=f"No {wanted.name or 'event'} {said}".strip() + f"; {blocks}.",
        range_words=f"of {blocks}",
        newer=urls.events(**wanted.query()) if before is not None else None,
        older=older,
        csv=urls.export("csv", **wanted.query()),
        json=urls.export("json", **wanted.query()),
    )


def export(explorer: Explorer, kind: str, query: Mapping[str, str]) -> Iterator[bytes]:
    """All matching events, newest first, a part at a time: memory does not grow with them.

    Raises:
        NotUnderstood: a filter that means nothing; before anything is sent.
    """
    wanted = wanted_of(query)
    return _csv(explorer, wanted) if kind == "csv" else _json(explorer, wanted)


def _parts(explorer: Explorer, wanted: Wanted) -> Iterator[list[EventRow]]:
    before: int | None = None
    while True:
        part = newest(explorer.reader, wanted, _EXPORT_PART, before)
        if part:
            yield part
        if len(part) < _EXPORT_PART:
            return
        before = part[-1].id


def _csv(explorer: Explorer, wanted: Wanted) -> Iterator[bytes]:
    yield (",".join(_COLUMNS) + "\r\n").encode()
    for part in _parts(explorer, wanted):
        text = io.StringIO()
        writer = csv.writer(text)
        for event in part:
            values = _value(event)
            values["decoded"] = json.dumps(values["decoded"])
            values["topics"] = " ".join(values["topics"])
            writer.writerow(values.values())
        yield text.getvalue().encode()


def _json(explorer: Explorer, wanted: Wanted) -> Iterator[bytes]:
    extent = explorer.reader.extent()
    head = {
        "filter": wanted.query(),
        "indexed": {
            "first_block": extent.first_block,
            "last_block": extent.last_block,
            "last_hash": extent.last_hash,
        },
    }
    yield (json.dumps(head)[:-1] + ', "events": [').encode()
    separator = "\n"
    for part in _parts(explorer, wanted):
        yield (separator + ",\n".join(json.dumps(_value(event)) for event in part)).encode()
        separator = ",\n"
    yield b"\n]}\n"


def _value(event: EventRow) -> dict[str, Any]:
    return dict(
        zip(
            _COLUMNS,
            [
                event.block,
                event.block_hash,
                event.time,
                event.transaction,
                event.log_index,
                event.contract,
                event.name,
                event.study,
                event.round,
                event.site,
                dict(event.args),
                list(event.topics),
                event.data,
            ],
            strict=True,
        )
    )
