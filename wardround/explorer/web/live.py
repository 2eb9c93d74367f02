"""One reader of the index for all open pages: what is new is read and rendered once, then sent.

A page that reads slower than events come gets a `reload` message, so that a reader costs a socket
and a short queue that does not grow.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

#: Polling interval; a poll takes a few microseconds.
POLL_SECONDS = 0.02
#: Interval of comments that keep proxies from closing a silent stream and detect closed ones.
BEAT_SECONDS = 15.0
#: Unread messages after which a page must load again.
QUEUE_MESSAGES = 32


def message(event: str, value: Any, key: int | None = None) -> bytes:
    """Write one server-sent event; a browser that comes back names the last `key` it has."""
    head = "" if key is None else f"id: {key}\n"
    return f"{head}event: {event}\ndata: {json.dumps(value)}\n\n".encode()


@dataclass
class Hub:
    """Hands the same bytes to every open page. Deliberately mutable: its readers come and go.

    Attributes:
        poll: blocking; returns the messages since the last call, run in one worker thread.
    """

    poll: Callable[[], list[bytes]]
    readers: set[asyncio.Queue[bytes]] = field(default_factory=set)

    async def run(self) -> None:
        """Poll until cancelled, while there are readers."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if self.readers:
                for news in await asyncio.to_thread(self.poll):
                    self.send(news)

    def send(self, news: bytes) -> None:
        """Queue a message for every reader; a full queue is replaced by `reload`."""
        for queue in self.readers:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(message("reload", {}))
            else:
                queue.put_nowait(news)

    async def stream(self, first: bytes = b"") -> AsyncIterator[bytes]:
        """What one reader is sent; `first` is what came before it asked."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE_MESSAGES)
        self.readers.add(queue)
        try:
            yield b"retry: 1000\n: welcome\n\n" + first
            while True:
                try:
                    yield await asyncio.wait_for(queue.get(), BEAT_SECONDS)
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            self.readers.discard(queue)
