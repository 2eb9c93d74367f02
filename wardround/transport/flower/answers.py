"""Answers over HTTP that are read up to a limit, in Flower's clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx

from wardround.transport.errors import TransportError


def bounded_answers(max_bytes: int, sender: str) -> Callable[[httpx.Response], None]:
    """Make a hook for an httpx client that ends an answer where it exceeds a limit.

    Args:
        max_bytes: of one answer; none may be compressed, since little can unpack to much.
        sender: who sends them, for the error.
    Returns:
        The hook, which raises TransportError, or has the answer raise it while it is read.
    """

    def too_large() -> TransportError:
        return TransportError(f"{sender} sends more than {max_bytes:,} bytes in one answer.")

    def bound(answer: httpx.Response) -> None:
        stated = answer.headers.get("content-length", "0")
        if not stated.isdecimal() or int(stated) > max_bytes:
            raise too_large()
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise too_large()
        assert isinstance(answer.stream, httpx.SyncByteStream)
        answer.stream = _BoundedStream(answer.stream, max_bytes, too_large)

    return bound


class _BoundedStream(httpx.SyncByteStream):
    def __init__(
        self,
        stream: httpx.SyncByteStream,
        max_bytes: int,
        too_large: Callable[[], TransportError],
    ) -> None:
        self._stream, self._left, self._too_large = stream, max_bytes, too_large

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:
            self._left -= len(part)
            if self._left < 0:
                raise self._too_large()
            yield part

    def close(self) -> None:
        self._stream.close()
