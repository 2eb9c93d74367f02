"""The protocol that this package speaks. What another one made is refused by its name."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator

from wardround.protocol.errors import other_protocol

PROTOCOL: Final = "wardround/2"
#: The one before. Its files and contracts do not all name it.
FORMER = "wardround/1"


def _spoken(value: object) -> object:
    # An error of ours passes through pydantic; what is no protocol at all is left to it.
    if isinstance(value, str) and value.startswith("wardround/") and value != PROTOCOL:
        raise other_protocol(value)
    return value


#: A document's ``protocol``: that of another one raises `ProtocolError`, whatever else is in it.
Protocol = Annotated[Literal["wardround/2"], BeforeValidator(_spoken)]
