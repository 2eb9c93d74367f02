"""Lies in the lock of an open round, and in a round that was closed with what was locked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from tests.lies.documents import LOCKED, before_the_last
from tests.lies.lie import Dishonest, Lie, Named, Stated
from tests.lies.played import SPONSOR, Played
from tests.protocol.rounds import CAP, in_order
from wardround.protocol.contribution import Entry, pack_entries
from wardround.protocol.identifiers import Root
from wardround.protocol.manifest import Dropped

Made = tuple[Entry, str, str]


def _cohort(played: Played, bend: Callable[[Played, list[Made]], list[Made]]) -> list[Made]:
    """Contributions whose entries are stored, as a coordinator keeps them before it locks."""
    made = in_order(bend(played, played.cohort()))
    played.put(pack_entries([entry for entry, _, _ in made]))
    return made


def _locked(
    bend: Callable[[Played, list[Made]], list[Made]],
    changes: Mapping[str, Any] | None = None,
    *,
    is_hidden: bool = False,
) -> Dishonest:
    """Lock the last round's cohort, and leave the round open.

    Args:
        bend: what is wrong with the contributions.
        changes: what is locked in place of what follows from them.
        is_hidden: whether the first update is in no store.
    """
    played = before_the_last(LOCKED).forked()
    made = _cohort(played, bend)
    settled, _ = played.settle(made, [played.left_out])
    if is_hidden:
        del played.objects[made[0][1]]
    played.lock(replace(settled.record, **(changes or {})))
    return Dishonest.of(played)


def honest_lock() -> Dishonest:
    """An open round whose cohort is locked as it must be."""
    return _locked(_honest)


def _honest(played: Played, made: list[Made]) -> list[Made]:
    return made


def _heavy(played: Played, made: list[Made]) -> list[Made]:
    return [played.contribution(made[0][0].site, weight=CAP + 1), *made[1:]]


def _unsigned(played: Played, made: list[Made]) -> list[Made]:
    entry, update, report = made[0]
    return [(replace(entry, signature=bytes(65)), update, report), *made[1:]]


def _without_a_registered_one(played: Played, made: list[Made]) -> list[Made]:
    played.ward.contribute(SPONSOR, played.study, played.round, played.previous, made[0][0])
    return made[1:]


def _closed(reason: str) -> Dishonest:
    """Close a locked round, with a word for the site that is not in the cohort."""
    played = before_the_last(LOCKED).forked()
    left_out: Dropped = played.left_out.model_copy(update={"reason": reason})
    settled, _ = played.settle(played.cohort(), [left_out])
    played.close(settled.record)
    return Dishonest.of(played)


def lies() -> Iterator[Lie]:
    breach = Named("replay-failed", "locked cohort: ")
    field = "lock.contributions"
    for how, words, bend in (
        ("a weight above the cap", "is not in 1 ..", _heavy),
        ("a signature that is none", "signature of", _unsigned),
        ("without a registered one", "was left out", _without_a_registered_one),
    ):
        yield Lie(field, how, Named("replay-failed", words), partial(_locked, bend))
    hidden = partial(_locked, _honest, is_hidden=True)
    yield Lie(field, "an update in no store", Named("replay-failed", "is not to be had"), hidden)
    for name, values in (
        ("contributions", (Root(bytes(32)), Root(b"\x07" * 32))),
        ("count", (2, 4)),
        ("total_weight", (3, 1000)),
    ):
        for value in values:
            shown = value if isinstance(value, int) else "0x" + value.hex()[:8]
            make = partial(_locked, _honest, {name: value})
            yield Lie(f"lock.{name}", f"is {shown}", breach, make)
    for reason in ("not_locked", "no_reply"):
        stated = Stated("manifest.dropped[].reason")
        make = partial(_closed, reason)
        yield Lie("manifest.dropped[].reason", f"{reason}, of a locked round", stated, make)
