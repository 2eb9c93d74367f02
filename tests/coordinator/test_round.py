"""The round as a machine: whatever comes in, in whatever order, every site ends in one list."""

from __future__ import annotations

import pytest
from eth_utils import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from wardround.protocol.contribution import Entry
from wardround.protocol.identifiers import Digest, Root, SiteAddress
from wardround.protocol.manifest import Dropped
from wardround_coordinator.round import (
    Accepted,
    Event,
    Phase,
    RoundState,
    SiteAccepted,
    SiteDropped,
    TimeUp,
    tick,
)

SITES = [SiteAddress(to_checksum_address(bytes([0xA0 + n]) * 20)) for n in range(6)]


def accepted(site: SiteAddress, word: int = 0) -> SiteAccepted:
    entry = Entry(site, 1 + word, Root(bytes([word]) * 32), Digest(bytes(32)), bytes(65))
    return SiteAccepted(Accepted(entry, f"update {word}", f"report {word}"))


def dropped(site: SiteAddress, reason: str = "range") -> SiteDropped:
    return SiteDropped(Dropped(site=site.lower(), reason=reason, evidence=""))


def run(state: RoundState, events: list[Event]) -> RoundState:
    for event in events:
        state = tick(state, event)
    return state


events = st.one_of(
    st.builds(accepted, st.sampled_from(SITES), st.integers(0, 3)),
    st.builds(dropped, st.sampled_from(SITES), st.sampled_from(["range", "root", "signature"])),
    st.just(TimeUp()),
)
asked = st.frozensets(st.sampled_from(SITES[:5]))  # the sixth site is never asked


@given(asked, st.integers(1, 6), st.lists(events, max_size=20))
def test_sites_when_time_is_up_are_each_in_one_list(
    sites: frozenset[SiteAddress], minimum: int, happened: list[Event]
) -> None:
    state = run(RoundState(1, sites, minimum), [*happened, TimeUp()])
    assert state.accepted.keys() | state.dropped.keys() == sites
    assert not state.accepted.keys() & state.dropped.keys()
    assert state.waiting == frozenset()
    assert state.phase is (Phase.READY if len(state.accepted) >= minimum else Phase.FAILED)
    for site, row in state.dropped.items():
        assert row.site == site.lower()


@given(asked, st.lists(events, max_size=20))
def test_first_word_of_a_site_when_it_speaks_again_counts(
    sites: frozenset[SiteAddress], happened: list[Event]
) -> None:
    state = run(RoundState(1, sites, 1), happened)
    for site in sites:
        words = [
            event
            for event in happened
            if isinstance(event, TimeUp)
            or (isinstance(event, SiteAccepted) and event.accepted.entry.site == site)
            or (isinstance(event, SiteDropped) and event.dropped.site == site.lower())
        ]
        if not words:
            assert site in state.waiting
        elif isinstance(words[0], SiteAccepted):
            assert state.accepted[site] is words[0].accepted
        elif isinstance(words[0], SiteDropped):
            assert state.dropped[site] is words[0].dropped
        else:
            assert state.dropped[site].reason == "no_reply"


@given(asked, st.lists(events, max_size=12), st.randoms(use_true_random=False))
def test_state_when_one_word_a_site_comes_in_any_order_is_equal(
    sites: frozenset[SiteAddress], happened: list[Event], random: object
) -> None:
    words = {}
    for event in happened:
        if isinstance(event, SiteAccepted):
            words.setdefault(event.accepted.entry.site.lower(), event)
        elif isinstance(event, SiteDropped):
            words.setdefault(event.dropped.site, event)
    once: list[Event] = list(words.values())
    shuffled = list(once)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (run(RoundState(1, sites, 1), order) for order in (once, shuffled))
    assert one == other
    assert one.entries == other.entries
    assert one.objects == other.objects


@given(asked, st.integers(1, 6), st.lists(events, max_size=20))
def test_state_when_an_event_comes_is_not_changed_but_made_anew(
    sites: frozenset[SiteAddress], minimum: int, happened: list[Event]
) -> None:
    state = RoundState(1, sites, minimum)
    for event in happened:
        before = (dict(state.accepted), dict(state.dropped), state.phase)
        following = tick(state, event)
        assert (dict(state.accepted), dict(state.dropped), state.phase) == before
        assert following.waiting <= state.waiting
        if state.phase is not Phase.COLLECTING:
            assert following == state, "once all have answered, nothing changes any more"
        state = following


@given(asked.filter(bool), st.integers(1, 6))
def test_phase_when_nobody_has_answered_is_collecting(
    sites: frozenset[SiteAddress], minimum: int
) -> None:
    assert RoundState(1, sites, minimum).phase is Phase.COLLECTING


def test_phase_when_nobody_was_asked_is_failed() -> None:
    assert RoundState(1, frozenset(), 1).phase is Phase.FAILED
    assert tick(RoundState(1, frozenset(), 1), TimeUp()).phase is Phase.FAILED


def test_entries_when_read_are_sorted_by_site_with_their_objects() -> None:
    state = RoundState(1, frozenset(SITES), 1)
    for place, site in enumerate(reversed(SITES)):
        state = tick(state, accepted(site, place))
    assert [entry.site for entry in state.entries] == sorted(SITES, key=str.lower)
    for entry, (update, report) in zip(state.entries, state.objects, strict=True):
        word = entry.weight - 1
        assert (update, report) == (f"update {word}", f"report {word}")


@pytest.mark.parametrize("minimum", [2, 3])
def test_failure_when_too_few_are_good_names_everyone_left_out(minimum: int) -> None:
    state = RoundState(7, frozenset(SITES[:3]), minimum)
    state = run(state, [accepted(SITES[0]), dropped(SITES[1], "signature"), TimeUp()])
    assert state.phase is Phase.FAILED
    failure = state.failure({SITES[1]: "st-mary"}, [SITES[3]])
    assert (failure.round_number, failure.accepted, failure.needed) == (7, 1, minimum)
    text = str(failure)
    assert "round 7 failed: 1 good contributions" in text
    assert f"st-mary ({SITES[1]}): " in text
    assert "[signature]" in text
    assert f"{SITES[2]}: no answer in time [no_reply]" in text
    assert f"{SITES[3]}: not connected" in text
