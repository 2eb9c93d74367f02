"""Lies about what a site registered on chain: left out, or another taken in its place.

Of a registered contribution alone its coordinator is not blamed for a report or a copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tests.lies.documents import CLIPPED, before_the_last
from tests.lies.lie import Dishonest, Lie, Named, Stated
from tests.lies.played import COORDINATOR, SPONSOR, Played
from tests.protocol.rounds import in_order, random_update
from wardround.chain.court import Court
from wardround.protocol.contribution import Entry
from wardround.protocol.inspection import base_leaf, chunk_leaf
from wardround.protocol.manifest import Dropped
from wardround.protocol.record import RuleId

_LEFT_OUT = Named("replay-failed", "registered its contribution and was left out")
Made = tuple[Entry, str, str]


def _registered() -> tuple[Played, list[Made]]:
    """The last round, for which the first site has registered what it sent."""
    played = before_the_last(CLIPPED).forked()
    made = played.cohort()
    _register(played, made[0][0])
    return played, made


def _register(played: Played, entry: Entry) -> None:
    played.ward.contribute(SPONSOR, played.study, played.round, played.previous, entry)


def _closed(played: Played, made: list[Made], *dropped: Dropped) -> Dishonest:
    settled, _ = played.settle(in_order(made), dropped)
    played.close(settled.record, [entry for entry, _, _ in in_order(made)])
    return Dishonest.of(played)


def _without(reason: str | None) -> Dishonest:
    played, made = _registered()
    first = made[0][0].site.lower()
    rows = () if reason is None else (Dropped(site=first, reason=reason, evidence=""),)
    return _closed(played, made[1:], *rows)


def _bad_report(*, is_registered: bool) -> Dishonest:
    """Take a contribution whose report is of the round before: registered, or in place of it."""
    played = before_the_last(CLIPPED).forked()
    made = played.cohort()
    first = made[0][0].site
    bad = played.contribution(first, report=played.report(first, round=1))
    _register(played, (bad if is_registered else made[0])[0])
    return _closed(played, [bad, *made[1:]])


def _copy(*, of_registered: bool) -> Dishonest:
    """Take two equal updates, of which one or neither is registered."""
    played = before_the_last(CLIPPED).forked()
    made = played.cohort()
    made[1] = played.contribution(made[1][0].site, played.update(made[0][1]))
    if of_registered:
        _register(played, made[0][0])
    return _closed(played, made)


def refused(*, is_taken: bool = False) -> Dishonest:
    """Register an update beyond the bound, have the court refuse it, and leave it out or not."""
    played = before_the_last(CLIPPED).forked()
    made, far = played.cohort(), random_update(7)
    far[0] = 2**31 - 1
    bad = played.contribution(made[0][0].site, far)
    _register(played, bad[0])
    Court(played.ward).refuse_contribution(
        *(COORDINATOR, played.study, played.round, played.previous, bad[0].pack(), 0),
        chunk_leaf(far.data, 0),
        base_leaf(RuleId.CLIPPED_MEAN, played.base.values, 0),
    )
    if is_taken:
        return _closed(played, [bad, *made[1:]])
    row = Dropped(site=bad[0].site.lower(), reason="refused", evidence="coordinate 0")
    return _closed(played, made[1:], row)


def lies() -> Iterator[Lie]:
    taken = partial(refused, is_taken=True)
    yield Lie("registration", "refused, and taken", Named("replay-failed", "[range]"), taken)
    yield Lie("registration", "left out without a word", _LEFT_OUT, partial(_without, None))
    for reason in ("no_reply", "range", "malformed", "not_shown", "refused"):
        yield Lie("registration", f"left out as {reason}", _LEFT_OUT, partial(_without, reason))
    yield Lie(
        "registration",
        "another of the same site in its place, with a report of another round",
        Named("replay-failed", "[report]"),
        partial(_bad_report, is_registered=False),
    )
    yield Lie(
        "registration",
        "with a report of another round",
        Stated("registration"),
        partial(_bad_report, is_registered=True),
    )
    yield Lie(
        "registration",
        "copied",
        Named("replay-failed", "[copied_update]"),
        partial(_copy, of_registered=False),
    )
    yield Lie(
        "registration",
        "the same as another site sent",
        Stated("registration"),
        partial(_copy, of_registered=True),
    )
