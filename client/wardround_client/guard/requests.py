"""What may be asked of the guard, and what it answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from wardround.protocol.documents import Form
from wardround.protocol.report import REPORT_MAX_BYTES, Hex32
from wardround_client.errors import Refusal

_Round = Annotated[int, Field(ge=1, lt=2**32)]
_Count = Annotated[int, Field(ge=0, lt=2**53)]
#: A closing is 256 bytes in the ABI's form.
_Closing = Annotated[str, Field(pattern=r"^0x[0-9a-f]{512}$")]


class AskIdentity(Form):
    """Who is this site?"""

    ask: Literal["identity"]


class AskTrain(Form):
    """Train from this model and sign what came of it. The model follows as bytes."""

    ask: Literal["train"]
    study: Hex32
    round: _Round
    previous: _Closing
    model_bytes: _Count


class AskMeasure(Form):
    """Measure this model on the site's test rows. The model follows as bytes."""

    ask: Literal["measure"]
    study: Hex32
    round: _Round
    previous: _Closing
    model_bytes: _Count


Request = AskIdentity | AskTrain | AskMeasure
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


class Trained(Form):
    """The entry that was signed, 157 bytes, and its report. The update follows as bytes."""

    entry: Annotated[str, Field(pattern=r"^0x[0-9a-f]{314}$")]
    report: Annotated[str, Field(max_length=REPORT_MAX_BYTES)]
    update_bytes: _Count
