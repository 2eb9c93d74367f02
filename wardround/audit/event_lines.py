"""Events of a study as JSON lines: one way to write each, so that a file can be compared."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from enum import IntEnum
from typing import Any

from wardround.chain.events import Event, OtherEvent
from wardround.protocol.identifiers import hex_of


def event_line(event: Event) -> str:
    """Write an event with its place on the chain as one JSON object, without the line's end."""
    return json.dumps(_plain_event(event), sort_keys=True)


def event_name(event: Event) -> str:
    """The contract's name of an event."""
    return event.name if isinstance(event, OtherEvent) else type(event).__name__


def _plain_event(event: Event) -> dict[str, Any]:
    values = event.values if isinstance(event, OtherEvent) else vars(event)
    return {
        "event": event_name(event),
        "study": hex_of(event.study),
        "block": event.log.block_number,
        "transaction": event.log.transaction_hash,
        "index": event.log.log_index,
        **{key: _plain(value) for key, value in values.items() if key not in ("study", "log")},
    }


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return hex_of(value)
    if isinstance(value, IntEnum):
        return value.name.lower()
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    # Amounts are decimal text, because JSON numbers end at 2**53.
    return str(value) if isinstance(value, int) and value >= 2**53 else value
