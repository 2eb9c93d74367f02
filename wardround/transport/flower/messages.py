"""Flower's error codes and node key header, and how it puts what a ClientApp raised."""

from __future__ import annotations

import re

from flwr.common.constant import ErrorCode
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER as NODE_KEY_HEADER

__all__ = ["NODE_KEY_HEADER", "REFUSED", "ErrorCode", "reason_of"]

#: The word of a reply that was refused before it was built, and the code of the error in its place.
#: A node that sends such a code refuses itself.
REFUSED = {"malformed": 9001, "length": 9002, "unavailable": int(ErrorCode.MESSAGE_UNAVAILABLE)}

_RAISED = re.compile(r"<class '(?:\w+\.)*(\w+)'>:<'(.*)'>", re.DOTALL)
#: The error that is only the carrier of another one's name.
_CARRIER = "Withheld"


def reason_of(given: str | None) -> str:
    """Put the reason of a site's error into one line."""
    raised = _RAISED.fullmatch(given or "")
    if raised is None:
        words = given or "no reason given"
    else:
        words = raised[2] if raised[1] == _CARRIER else f"{raised[1]}: {raised[2]}"
    return " ".join(words.split())
