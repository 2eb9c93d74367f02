"""What may be asked of the guard, and what it answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from wardround.learning.privacy.accountant import PrivacyAccount
from wardround.protocol.documents import Form
from wardround.protocol.report import REPORT_MAX_BYTES, Hex32
from wardround_client.errors import Refusal

_Round = Annotated[int, Field(ge=1, lt=2**32)]
_Count = Annotated[int, Field(ge=0, lt=2**53)]
#: A closing is 288 bytes in the ABI's form.
_Closing = Annotated[str, Field(pattern=r"^0x[0-9a-f]{576}$")]


class AskIdentity(Form):
    """Who is this site?"""

    ask: Literal["identity"]


class AskBegin(Form):
    """May this round be trained for, and with which noise?"""

    ask: Literal["begin"]
    study: Hex32
    round: _Round
    previous: _Closing
    code: Hex32


class AskSign(Form):
    """Sign this contribution. Base model and update follow as bytes."""

    ask: Literal["sign"]
    study: Hex32
    round: _Round
    previous: _Closing
    weight: _Count
    report: Annotated[str, Field(max_length=REPORT_MAX_BYTES)]
    base_bytes: _Count
    update_bytes: _Count


class AskRelease(Form):
    """May these measures of a model leave?"""

    ask: Literal["release"]
    study: Hex32
    round: _Round
    previous: _Closing
    model: Hex32
    measures: Annotated[dict[str, FiniteFloat | int], Field(max_length=32)]


Request = AskIdentity | AskBegin | AskSign | AskRelease
_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="ask")])


def parse_request(value: Any) -> Request:
    """Read a request.

    Raises:
        Refusal: ``request-malformed``: an unknown question, field or form.
    """
    try:
        return _REQUEST.validate_python(value)
    except ValidationError as error:
        place = ".".join(str(part)[:40] for part in error.errors()[0]["loc"])
        raise malformed(f"{place or 'the whole'} is not of the agreed form") from None


def malformed(reason: str) -> Refusal:
    """Refuse what is no request."""
    return Refusal("request-malformed", f"the request is malformed: {reason}.")


class Identified(Form):
    """Name and address."""

    name: Annotated[str, Field(max_length=63)]
    site: Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]


class Begun(Form):
    """Training may begin.

    Attributes:
        max_weight: the site's cap in this study.
        secret: of the round's noise; None where the study is not private.
        account: spent in the study before this round.
    """

    max_weight: _Count
    secret: Hex32 | None
    account: PrivacyAccount


class SignedAnswer(Form):
    """The entry that was signed, 157 bytes, and its report, which may be that of an earlier try."""

    entry: Annotated[str, Field(pattern=r"^0x[0-9a-f]{314}$")]
    report: Annotated[str, Field(max_length=REPORT_MAX_BYTES)]


class Released(Form):
    """What may leave."""

    measures: dict[str, FiniteFloat | int]
