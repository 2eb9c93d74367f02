"""What a site tells about its training: a short, signed-for document."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FiniteFloat

from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.documents import Form, parse_document
from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import address_of

#: A report is a few hundred bytes; anything larger is refused unread.
REPORT_MAX_BYTES = 16_384
#: Names of metrics in a report.
MetricName = Literal["train_loss"]
#: The one metric of a report: its largest value, its digits and its decimals; 17 bits in all.
LOSS_MAX, LOSS_DIGITS, LOSS_DECIMALS = 1e6, 4, 6

Hex32 = Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]
Address = Annotated[str, Field(pattern=r"^0x[0-9a-f]{40}$")]


def _written(text: str) -> str:
    try:
        return address_of(text).lower()
    except Malformed as error:
        raise ValueError(error.reason) from error


#: An address in a settings file, which people write: any form that EIP-55 allows, kept lower-case.
WrittenAddress = Annotated[str, AfterValidator(_written)]


def rounded_loss(loss: float) -> float:
    """Leave four digits of a mean loss, so that it has no room for a row.

    Args:
        loss: in nats, finite, at least 0.
    Returns:
        At most a million; zero below half a millionth.
    """
    short = float(f"{min(loss, LOSS_MAX):.{LOSS_DIGITS - 1}e}")
    return round(short, LOSS_DECIMALS)


def _is_rounded(loss: float) -> float:
    if loss != rounded_loss(loss):
        raise ValueError(f"it has more than {LOSS_DIGITS} digits or {LOSS_DECIMALS} decimals")
    return loss


_Loss = Annotated[FiniteFloat, Field(ge=0, le=LOSS_MAX), AfterValidator(_is_rounded)]


class Privacy(Form):
    """Privacy spent by this site in this study so far."""

    #: For tables with one row more or less.
    epsilon: Annotated[FiniteFloat, Field(ge=0)]
    #: For tables in which one row is another: numbers of rows are public, so limits hold for it.
    epsilon_replaced: Annotated[FiniteFloat, Field(ge=0)]
    delta: Annotated[FiniteFloat, Field(ge=0, lt=1)]


class Report(Form):
    """A site's report on one round; its SHA-256 is in the contribution."""

    study: Hex32
    round: Annotated[int, Field(ge=1, lt=2**32)]
    site: Address
    examples: Annotated[int, Field(ge=1, lt=2**53)]
    metrics: Annotated[dict[MetricName, _Loss], Field(max_length=1)]
    privacy: Privacy | None
    code: Hex32
    #: How long training took, rounded up.
    seconds: Annotated[int, Field(ge=0, lt=2**24)]

    def encode(self) -> bytes:
        """Write the RFC 8785 form that is hashed and stored."""
        return canonical_bytes(self.model_dump(mode="json"))


def parse_report(data: bytes | memoryview) -> Report:
    """Read a report.

    Raises:
        Malformed: too long, not in RFC 8785 form, an unknown field or metric, or a value out of
            range.
    """
    return parse_document(Report, data, "report", REPORT_MAX_BYTES)
