"""What a site is about to send: its report, read to the last field, and the size of its update."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from wardround.protocol.canonical import parse_canonical
from wardround.protocol.errors import OutOfRange, ProtocolError
from wardround.protocol.fixed_point import BLOCK, Int32Vector, add_exact, largest_magnitude
from wardround.protocol.identifiers import SiteAddress, hex_of
from wardround.protocol.report import METRIC_NAMES, Report, parse_report
from wardround.protocol.study import StudySpec
from wardround_client.errors import Refusal
from wardround_client.guard.approvals import Approval


def read_report(
    data: bytes, approval: Approval, number: int, site: SiteAddress, metrics: Collection[str]
) -> Report:
    """Read a report and check that it states what is signed, and nothing that may not leave.

    Args:
        data: the report in RFC 8785 form.
        approval: of the study.
        number: of the round.
        site: who signs.
        metrics: names that the site's policy allows.
    Raises:
        Refusal: ``metric-not-allowed`` for a number of another name, or any of private training;
            ``code-changed`` where it names other code than was approved; ``report-wrong`` where it
            is malformed, or on another study, round or site.
    """
    try:
        report = parse_report(data)
    except ProtocolError as error:
        for name in _strange_metrics(data):
            raise metric_not_allowed(name) from None
        raise report_wrong("form", f"is wrong: {error}") from None
    if report.code != hex_of(approval.code):
        raise code_changed(hex_of(approval.code), report.code)
    expected = {"study": hex_of(approval.study), "round": number, "site": site.lower()}
    for field, value in expected.items():
        if getattr(report, field) != value:
            raise report_wrong(field, f"is {getattr(report, field)}, not {value}")
    # The loss of private training is made from rows without noise.
    allowed = set() if approval.spec.privacy is not None else set(metrics)
    for name in sorted(set(report.metrics) - allowed):
        raise metric_not_allowed(name)
    return report


def same_report(known: bytes, asked: bytes) -> bool:
    """Whether two reports differ in nothing but how long training took."""
    try:
        first, second = (
            parse_report(data).model_copy(update={"seconds": 0.0}) for data in (known, asked)
        )
    except ProtocolError:
        return False
    return first == second


def check_update(
    update: Int32Vector, base: Int32Vector, spec: StudySpec, max_norm: float | None
) -> float:
    """Check that an update is in range.

    Args:
        update: int32, shape (P,).
        base: the model it belongs to, int32, shape (P,).
        spec: of the study.
        max_norm: longest L2 norm in real units that the site's policy allows.
    Returns:
        The norm in real units. In floating point: no other machine has to compute the same.
    Raises:
        Refusal: ``update-out-of-range``: a coordinate, the model with it, or the norm.
    """
    largest = largest_magnitude(update)
    if largest > spec.update_limit:
        moved, bound = largest / 2**spec.aggregation.scale_bits, spec.aggregation.update_bound
        words = f"a coordinate of the update moved by {moved:g}, more than update_bound {bound:g}."
        raise Refusal("update-out-of-range", words)
    try:
        add_exact(base, update)
    except OutOfRange as error:
        raise out_of_range("a coordinate of the model with it", error.value, 2**31) from None
    squares = sum(
        float(np.square(update[start : start + BLOCK].astype(np.float64)).sum())
        for start in range(0, update.size, BLOCK)
    )
    norm = math.sqrt(squares) * 2.0**-spec.aggregation.scale_bits
    if max_norm is not None and norm > max_norm:
        raise out_of_range("the norm", norm, max_norm)
    return norm


def report_wrong(field: str, reason: str) -> Refusal:
    """Refuse a report that states something else, or is malformed."""
    return Refusal("report-wrong", f"the report's {field} {reason}.")


def metric_not_allowed(name: str) -> Refusal:
    """Refuse a number that may not leave the site."""
    words = f"{name[:100]!r} is not among the metrics that may leave this site."
    return Refusal("metric-not-allowed", words)


def code_changed(approved: str, found: str) -> Refusal:
    """Refuse an application that is not the one that was approved."""
    return Refusal(
        "code-changed",
        f"the application's code is {found}, and the site approved {approved} for this study: "
        "only that one may train here.",
    )


def out_of_range(what: str, found: float, limit: float) -> Refusal:
    """Refuse an update that is too short, too long or too large."""
    words = f"{what} of the update is {found:g} where {limit:g} is allowed."
    return Refusal("update-out-of-range", words)


def _strange_metrics(data: bytes) -> list[str]:
    """Name the metrics that made a report malformed, if that is what did."""
    try:
        metrics = parse_canonical(data, "report")["metrics"]
        return sorted(str(name) for name in set(metrics) - METRIC_NAMES)
    except (ProtocolError, KeyError, TypeError):
        return []
