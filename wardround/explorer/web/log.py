"""The event log: filtered, in pages, and as CSV or JSON of any length."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from wardround.explorer.errors import QueryInvalid
from wardround.explorer.events import EventFilter, event_names, event_pages, list_events
from wardround.explorer.parameters import ROUND_MAX, address, given, hex32, number
from wardround.explorer.rows import EventRow
from wardround.explorer.web import urls
from wardround.explorer.web.explorer import Explorer

_PAGE = 50
_BLOCK_MAX = 2**40


def _event_name(text: str) -> str:
    if text not in event_names():
        raise QueryInvalid("name", f"there is no event {text[:60]!r}")
    return text


#: Fields of the form and of the page's address: the conditions that they are, and how each is read.
_FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "name": ("name", _event_name),
    "study": ("study", partial(hex32, name="study")),
    "site": ("address", partial(address, name="site")),
    "round": ("round", partial(number, name="round", high=ROUND_MAX)),
    "round_to": ("round_to", partial(number, name="round_to", high=ROUND_MAX)),
    "block": ("from_block", partial(number, name="block", high=_BLOCK_MAX)),
    "block_to": ("to_block", partial(number, name="block_to", high=_BLOCK_MAX)),
}
_COLUMNS = (
    "block", "block_hash", "time", "transaction", "log_index", "contract", "event", "study",
    "round", "site", "decoded", "topics", "data",
)  # fmt: skip


def filter_of(query: Mapping[str, str]) -> EventFilter:
    """Read a filter.

    Raises:
        QueryInvalid: a value that its field cannot have.
    """
    asked = {field: given(query, field) for field in _FIELDS}
    return EventFilter(
        **{_FIELDS[field][0]: _FIELDS[field][1](text) for field, text in asked.items() if text}
    )


def log_page(explorer: Explorer, query: Mapping[str, str]) -> bytes:
    """A page of the log.

    Raises:
        QueryInvalid: the filter or the cursor is invalid.
    """
    chosen = filter_of(query)
    asked = _asked(chosen)
    before = given(query, "before")
    found = list_events(explorer.reader, chosen, before, _PAGE)
    words = _words(chosen)
    blocks = f"indexed blocks {found.extent.first_block:,} to {found.extent.last_block:,}"
    return explorer.page(
        "events.html",
        page="events",
        names=event_names(),
        filters=dict.fromkeys(_FIELDS) | asked,
        filtered=bool(asked),
        events=found.rows,
        title=f"{chosen.name or 'Events'} {words}".strip(),
        negative=f"No {chosen.name or 'event'} {words}".strip() + f"; {blocks}.",
        range_words=f"of {blocks}",
        newer=urls.events(**asked) if before is not None else None,
        older=urls.events(**asked, before=found.next) if found.next else None,
        csv=urls.events(".csv", **asked),
        json=urls.events(".json", **asked),
    )


def export(explorer: Explorer, kind: str, query: Mapping[str, str]) -> Iterator[bytes]:
    """All matching events, newest first, a part at a time: memory does not grow with them.

    Raises:
        QueryInvalid: the filter is invalid; before anything is sent.
    """
    write = _csv if kind == "csv" else _json
    return write(explorer, filter_of(query))


def _asked(chosen: EventFilter) -> dict[str, object]:
    found = {field: getattr(chosen, condition) for field, (condition, _) in _FIELDS.items()}
    return {field: value for field, value in found.items() if value is not None}


def _words(chosen: EventFilter) -> str:
    """A filter in words: 'of this site in rounds 10 to 20'."""
    words = []
    if chosen.study:
        words.append(f"of study {chosen.study[:10]}…")
    if chosen.address:
        words.append(f"of site {chosen.address[:10]}…")
    for what, low, high in (
        ("round", chosen.round, chosen.round_to),
        ("block", chosen.from_block, chosen.to_block),
    ):
        if low is not None and high is not None and low != high:
            words.append(f"in {what}s {low} to {high}")
        elif low is not None and (high is not None or what == "round"):
            words.append(f"in {what} {low}")
        elif low is not None:
            words.append(f"from {what} {low} on")
        elif high is not None:
            words.append(f"up to {what} {high}")
    return " ".join(words)


def _csv(explorer: Explorer, chosen: EventFilter) -> Iterator[bytes]:
    yield (",".join(_COLUMNS) + "\r\n").encode()
    for rows in event_pages(explorer.reader, chosen, newest_first=True):
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS)
        for event in rows:
            values = _values(event)
            decoded, topics = json.dumps(values["decoded"]), " ".join(values["topics"])
            writer.writerow({**values, "decoded": decoded, "topics": topics})
        yield text.getvalue().encode()


def _json(explorer: Explorer, chosen: EventFilter) -> Iterator[bytes]:
    indexed = asdict(explorer.reader.extent())
    del indexed["last_timestamp"]
    head = {"filter": _asked(chosen), "indexed": indexed}
    yield (json.dumps(head)[:-1] + ', "events": [').encode()
    separator = "\n"
    for rows in event_pages(explorer.reader, chosen, newest_first=True):
        if rows:
            yield (separator + ",\n".join(json.dumps(_values(event)) for event in rows)).encode()
            separator = ",\n"
    yield b"\n]}\n"


def _values(event: EventRow) -> dict[str, Any]:
    named = {"time": "timestamp", "event": "name", "decoded": "args"}
    return {column: getattr(event, named.get(column, column)) for column in _COLUMNS}
