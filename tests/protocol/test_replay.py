"""What an honest round is, and every way in which a recorded one can fail to follow from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.protocol.rounds import PARAMETERS, Memory, in_order, random_update, study_spec
from wardround.protocol.canonical import canonical_bytes, sha256_digest
from wardround.protocol.cid import cid_of
from wardround.protocol.commitments import commitments_root
from wardround.protocol.contribution import Entry, contributions_root
from wardround.protocol.errors import ReplayFailed, WardroundError
from wardround.protocol.facts import Member
from wardround.protocol.fixed_point import vector_bytes
from wardround.protocol.identifiers import Digest, hex_of
from wardround.protocol.manifest import Dropped, Manifest, RowsRef
from wardround.protocol.merkle import entries_root
from wardround.protocol.replay import ClosedRound, fetch_specification
from wardround.protocol.rules import aggregate
from wardround.protocol.settlement import Settlement, Vector, settle, stored_scores
from wardround.store.errors import ObjectMissing

STRANGER = "0x" + "5a" * 20


@cache
def study() -> tuple[Memory, Settlement, ClosedRound]:
    """A study whose second round has just been closed, with one site left out of it."""
    memory = Memory(sites=4)
    memory.go_on(memory.settle()[0])
    left_out = list(memory.keys)[3]
    made = [row for row in memory.contributions() if row[0].site != left_out]
    settled, closed = memory.settle(
        made, [Dropped(site=left_out.lower(), reason="range", evidence="too far")]
    )
    return memory, settled, closed


def with_manifest(memory: Memory, closed: ClosedRound, data: bytes) -> ClosedRound:
    """The same round, had its coordinator committed to another manifest."""
    memory.put(data)
    record = replace(closed.closing.record, manifest=sha256_digest(data))
    return replace(closed, closing=replace(closed.closing, record=record))


def with_record(closed: ClosedRound, **changes: Any) -> ClosedRound:
    record = replace(closed.closing.record, **changes)
    return replace(closed, closing=replace(closed.closing, record=record))


def test_honest_round_when_replayed_is_the_settled_one() -> None:
    memory, settled, closed = study()
    again = memory.replay(closed)
    assert again.record == settled.record
    assert again.manifest_data == settled.manifest_data
    np.testing.assert_array_equal(again.model.values, settled.model.values)
    assert again.shares == settled.shares


@given(
    rule=st.sampled_from([("mean", 0), ("median", 0), ("trimmed_mean", 1)]),
    recording=st.sampled_from(["full", "root"]),
    weights=st.lists(st.integers(1, 1000), min_size=3, max_size=6),
    seed=st.integers(0, 2**32),
    magnitude=st.sampled_from([1, 2**10, 2**24]),
)
@settings(max_examples=25, deadline=None)
def test_honest_round_when_drawn_at_random_holds(
    rule: tuple[str, int],
    recording: str,
    weights: list[int],
    seed: int,
    magnitude: int,
) -> None:
    spec = study_spec(
        aggregation={"rule": rule[0], "trim": rule[1], "min_sites": 3},
        chain={"recording": recording},
    )
    memory = Memory(spec, sites=len(weights))
    made = [
        memory.contribution(site, random_update(seed + place, magnitude), weights[place])
        for place, site in enumerate(memory.keys)
    ]
    settled, closed = memory.settle(in_order(made))
    assert (closed.entries is None) == (recording == "root")
    assert memory.replay(closed).record == settled.record


# ------------------------------------------------------------------ every field of the manifest


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Name every value of a JSON document: lists and tables too."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, dict | list):
            yield from paths(inner, (*path, key))
        else:
            yield (*path, key)


def others(value: Any) -> Iterator[Any]:
    """Other values in place of one, most of them of the same form."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1, 0, str(value))
    elif isinstance(value, str) and value.isdigit():
        yield from (str(int(value) + 1), str(max(0, int(value) - 1)), "0" + value)
    elif isinstance(value, str):
        # A digit at the end is still a digit of hexadecimal, and of base32 sometimes.
        yield value[:-1] + ("3" if value[-1] != "3" else "5")
        yield value[:2] + ("3" if value[2:3] != "3" else "5") + value[3:]
        yield value.upper()
        yield value + "a"
        yield ""
    elif isinstance(value, list):
        yield []
        yield value[1:]
        yield [*value, *value[:1]]
        yield value[::-1]
    elif isinstance(value, dict):
        yield {**value, "more": 1}
        for key in value:
            yield {name: inner for name, inner in value.items() if name != key}
    yield None


def changed(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    copied = json.loads(json.dumps(document))
    place = copied
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copied


@cache
def alterations() -> list[tuple[str, bytes]]:
    """Every field of an honest manifest, altered in every way; written canonically again."""
    _, settled, _ = study()
    document = json.loads(settled.manifest_data)
    found = {}
    for path in paths(document):
        name = ".".join(map(str, path))
        # What a coordinator states about a bad site cannot be recomputed by others.
        if name.endswith((".reason", ".evidence")):
            continue
        value = document
        for key in path:
            value = value[key]
        for place, other in enumerate(others(value)):
            data = canonical_bytes(changed(document, path, other))
            if data != settled.manifest_data and path != ("dropped",):
                found[f"{name} #{place}"] = data
    return list(found.items())


def test_manifest_when_any_field_is_altered_fails() -> None:
    memory, _, closed = study()
    names = {name.split(" ")[0] for name, _ in alterations()}
    # Every field of the protocol's list is among them, down to the scalars.
    assert {
        "protocol", "chainId", "contract", "study", "round", "coordinator", "parameters",
        "scaleBits", "rule.name", "rule.argument", "base.root", "base.cid", "model.root",
        "model.cid", "contributions.0.site", "contributions.0.weight",
        "contributions.0.update.root", "contributions.0.update.cid",
        "contributions.0.report.sha256", "contributions.0.report.cid",
        "contributions.0.signature", "dropped.0.site", "scoring.name", "commitments",
    } <= names  # fmt: skip
    unnoticed = []
    for name, data in alterations():
        try:
            memory.replay(with_manifest(memory, closed, data))
        except WardroundError:
            continue
        unnoticed.append(name)
    assert unnoticed == []


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_manifest_when_a_byte_is_altered_fails(data: st.DataObject) -> None:
    memory, settled, closed = study()
    altered = bytearray(settled.manifest_data)
    dropped = settled.manifest_data.index(b'"dropped":'), settled.manifest_data.index(b'"model":')
    at = data.draw(
        st.integers(0, len(altered) - 1).filter(lambda n: not dropped[0] <= n < dropped[1])
    )
    altered[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(WardroundError):
        memory.replay(with_manifest(memory, closed, bytes(altered)))


@pytest.mark.parametrize(
    "change",
    [
        {"model": b"\x01" * 32},
        {"contributions": b"\x01" * 32},
        {"commitments": b"\x01" * 32},
        {"count": 4},
        {"total_weight": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_record_when_any_field_is_altered_fails(change: dict[str, Any]) -> None:
    memory, _, closed = study()
    with pytest.raises(ReplayFailed, match="round 2"):
        memory.replay(with_record(closed, **change))


@pytest.mark.parametrize("rows", ["contributor", "stranger", "twice", "unsorted"])
def test_dropped_when_it_cannot_be_true_fails(rows: str) -> None:
    memory, settled, closed = study()
    one = settled.manifest.dropped[0]
    lists = {
        "contributor": [Dropped(site=settled.manifest.contributions[0].site, reason="range",
                                evidence="")],
        "stranger": [Dropped(site=STRANGER, reason="range", evidence="")],
        "twice": [one, one],
        "unsorted": [one, Dropped(site="0x" + "00" * 20, reason="range", evidence="")],
    }  # fmt: skip
    data = settled.manifest.model_copy(update={"dropped": lists[rows]}).encode()
    with pytest.raises(ReplayFailed) as failure:
        memory.replay(with_manifest(memory, closed, data))
    assert failure.value.what in ("dropped", "manifest")


# --------------------------------------------------------------------- a coordinator that lies


def lie(change: Callable[[Memory, Settlement], Settlement]) -> ReplayFailed:
    """Close round 1 with something other than what follows; return the replay's error."""
    memory = Memory()
    settled, closed = memory.settle()
    told = change(memory, settled)
    memory.put(told.model.data)
    memory.put(told.manifest_data)
    with pytest.raises(ReplayFailed) as failure:
        memory.replay(replace(closed, closing=replace(closed.closing, record=told.record)))
    assert failure.value.round_number == 1
    return failure.value


def wrong_aggregate(memory: Memory, off: int) -> Settlement:
    """Settle as if the rule had given one coordinate another value; all else follows from it."""
    made = memory.contributions()
    updates = [memory.update(cid) for _, cid, _ in made]
    entries = [entry for entry, _, _ in made]
    total = aggregate(memory.spec.rule, updates, [entry.weight for entry in entries]).copy()
    total[7] += off
    objects = [(update, report) for _, update, report in made]
    return settle(memory.frame, entries, objects, total, [], ())


@pytest.mark.parametrize("off", [1, -1, 2**20])
def test_aggregate_when_one_coordinate_is_wrong_is_named(off: int) -> None:
    assert lie(lambda memory, _: wrong_aggregate(memory, off)).what == "model"


def committed(settled: Settlement, manifest: Manifest, **record: Any) -> Settlement:
    data = manifest.encode()
    changes = {"manifest": sha256_digest(data), **record}
    return replace(
        settled,
        manifest=manifest,
        manifest_data=data,
        record=replace(settled.record, **changes),
    )


def misnamed(_: Memory, settled: Settlement) -> Settlement:
    named = {"measures": Digest(b"\x07" * 32)}
    manifest = settled.manifest.model_copy(
        update={
            "commitments": {
                name: RowsRef(root=hex_of(root), cid=settled.model.cid)
                for name, root in named.items()
            }
        }
    )
    return committed(settled, manifest, commitments=commitments_root(named))


def unnamed(_: Memory, settled: Settlement) -> Settlement:
    root = commitments_root({"measures": Digest(b"\x07" * 32)})
    return committed(settled, settled.manifest, commitments=root)


def rescored(_: Memory, settled: Settlement) -> Settlement:
    scoring = settled.manifest.scoring.model_copy(update={"name": "projection"})
    return committed(settled, settled.manifest.model_copy(update={"scoring": scoring}))


@pytest.mark.parametrize(
    ("told", "what", "reason"),
    [
        (misnamed, "commitments", "unknown commitment 'measures'"),
        (unnamed, "commitments", "the record's root is another"),
        (rescored, "manifest", "the recomputed one is another"),
    ],
)
def test_commitments_and_scoring_when_wrong_are_named(
    told: Callable[[Memory, Settlement], Settlement], what: str, reason: str
) -> None:
    failure = lie(told)
    assert (failure.what, failure.reason) == (what, reason)


def test_contribution_when_left_out_of_the_manifest_is_named() -> None:
    memory = Memory()
    made = memory.contributions()
    _, closed = memory.settle(made)
    fewer, _ = memory.settle(made[:2])
    told = replace(closed, closing=replace(closed.closing, record=fewer.record))
    with pytest.raises(ReplayFailed, match="differ from those in the transaction"):
        memory.replay(told)


COMMITTING = [
    ("mean", 0, "projection", ["scores"]),
    ("clipped_mean", 0, "examples", ["norms"]),
    ("clipped_mean", 0, "projection", ["norms", "scores"]),
    ("multi_krum", 1, "examples", ["distances", "ranks"]),
]


def committing(rule: str, hostile: int, scoring: str) -> Memory:
    aggregation = {"rule": rule, "hostile": hostile, "min_sites": 3}
    return Memory(study_spec(aggregation=aggregation, rewards={"scoring": scoring}), sites=4)


@pytest.mark.parametrize(("rule", "hostile", "scoring", "names"), COMMITTING)
def test_round_when_it_commits_to_rows_replays(
    rule: str, hostile: int, scoring: str, names: list[str]
) -> None:
    memory = committing(rule, hostile, scoring)
    settled, closed = memory.settle()
    assert list(settled.manifest.commitments) == names
    again = memory.replay(closed)
    assert again.manifest_data == settled.manifest_data
    assert again.shares == settled.shares
    scores = stored_scores(settled.manifest, memory.fetch)
    assert scores == settled.commitments.scores
    if scoring == "projection":
        assert list(settled.shares.values()) == [1000 * one // sum(scores) for one in scores]


@pytest.mark.parametrize(
    ("rule", "hostile", "scoring", "name"),
    [(*one[:3], name) for one in COMMITTING for name in one[3]],
)
@pytest.mark.parametrize("what", ["row", "count", "stored", "hidden"])
def test_row_when_wrong_is_named_with_its_site(
    rule: str, hostile: int, scoring: str, name: str, what: str
) -> None:
    memory = committing(rule, hostile, scoring)
    settled, _ = memory.settle()
    rows = list(settled.commitments.rows[name])
    rows[1] = rows[1][:-1] + bytes([rows[1][-1] ^ 1])
    if what == "count":
        rows = list(settled.commitments.rows[name])[:-1]
    cid = cid_of(b"".join(rows)) if what == "hidden" else memory.put(b"".join(rows))
    roots = dict(settled.commitments.roots)
    if what != "stored":
        roots[name] = entries_root(rows)
    named = dict(settled.manifest.commitments)
    named[name] = RowsRef(root=hex_of(roots[name]), cid=cid)
    manifest = settled.manifest.model_copy(update={"commitments": named})
    forged = committed(settled, manifest, commitments=commitments_root(roots))
    memory.put(forged.manifest_data)
    entries = [row.entry() for row in manifest.contributions]
    with pytest.raises(WardroundError) as failure:
        memory.replay(memory.closed(forged.record, entries))
    if what == "hidden":
        assert isinstance(failure.value, ObjectMissing)
        return
    assert isinstance(failure.value, ReplayFailed)
    assert failure.value.what == name
    sites = [entry.site.lower() for entry in entries]
    whose = f"{sites[0]} and {sites[2]}" if name == "distances" else sites[1]
    count = "the stored rows are not those of its root"
    assert failure.value.reason == (count if what == "count" else f"the row of {whose} is another")


def test_round_when_no_site_scores_pays_by_weight() -> None:
    memory = committing("clipped_mean", 0, "projection")
    nothing = np.zeros(PARAMETERS, np.int32)
    made = in_order([memory.contribution(site, nothing) for site in memory.keys])
    settled, closed = memory.settle(made)
    assert settled.commitments.scores == (0,) * 4
    total = sum(entry.weight for entry, _, _ in made)
    assert settled.shares == {entry.site: 1000 * entry.weight // total for entry, _, _ in made}
    assert memory.replay(closed).shares == settled.shares


def test_round_when_built_on_another_base_is_named() -> None:
    memory = Memory()
    settled, _ = memory.settle()
    elsewhere = Vector.of(settled.model.values + np.int32(1))
    memory.put(elsewhere.data)
    memory.round = 2
    memory.base = elsewhere
    _, closed = memory.settle()
    memory.base = settled.model
    with pytest.raises(ReplayFailed, match="base model: not the round before's"):
        memory.replay(closed)


# ------------------------------------------------- a coordinator that lets bad contributions in


def admitted(change: Callable[[Memory, Any], tuple[Any, str, str]], **spec: Any) -> ReplayFailed:
    """Settle a round whose first contribution was never checked; return the replay's error."""
    memory = Memory(study_spec(**spec))
    first = next(iter(memory.keys))
    made = [change(memory, first), *(memory.contribution(s) for s in list(memory.keys)[1:])]
    _, closed = memory.settle(in_order(made))
    with pytest.raises(ReplayFailed) as failure:
        memory.replay(closed)
    assert first.lower() in str(failure.value).lower()
    return failure.value


def test_weight_when_above_the_cap_is_named() -> None:
    failure = admitted(lambda memory, site: memory.contribution(site, weight=1001))
    assert "not in 1 .. 1000" in failure.reason


def test_weight_when_above_the_examples_is_named() -> None:
    failure = admitted(
        lambda memory, site: memory.contribution(
            site, weight=20, report=memory.report(site, examples=19)
        )
    )
    assert "[examples]" in failure.reason


def test_update_when_out_of_range_is_named() -> None:
    far = np.zeros(PARAMETERS, np.int32)
    far[-1] = -(2**24) - 1  # the bound is 16.0 at 20 bits
    assert "[range]" in admitted(lambda memory, site: memory.contribution(site, far)).reason


def test_update_when_it_leads_out_of_32_bits_is_named_though_the_mean_does_not() -> None:
    memory = Memory()
    values = memory.base.values.copy()
    values[7] = 2**31 - 1
    memory.base = Vector.of(values)
    memory.put(memory.base.data)
    made = memory.contributions()
    for place, change in enumerate((5, -9, -9)):
        update = np.zeros(PARAMETERS, np.int32)
        update[:2] = place
        update[7] = change
        made[place] = memory.contribution(made[place][0].site, update, weight=10)
    _, closed = memory.settle(made)
    with pytest.raises(ReplayFailed) as failure:
        memory.replay(closed)
    assert made[0][0].site in failure.value.what
    assert "[range]" in failure.value.reason


def test_signature_when_of_another_key_is_named() -> None:
    def forged(memory: Memory, site: Any) -> tuple[Any, str, str]:
        entry, update, report = memory.contribution(site)
        return memory.signed(entry, b"\x07" * 32), update, report

    assert "signature" in admitted(forged).reason


@pytest.mark.parametrize(
    "change",
    [
        {"round": 2},
        {"site": STRANGER},
        {"study": "0x" + "00" * 32},
        {"code": "0x" + "22" * 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_report_when_of_something_else_is_named(change: dict[str, Any]) -> None:
    failure = admitted(
        lambda memory, site: memory.contribution(site, report=memory.report(site, **change))
    )
    assert failure.what.startswith("report of")


def test_report_when_not_a_report_is_named() -> None:
    failure = admitted(lambda memory, site: memory.contribution(site, report=b'{"hello":1}'))
    assert failure.what.startswith("report of")


def test_update_when_other_bytes_than_signed_is_named() -> None:
    def swapped(memory: Memory, site: Any) -> tuple[Any, str, str]:
        entry, _, report = memory.contribution(site)
        return entry, memory.put(vector_bytes(random_update(99))), report

    assert "[root]" in admitted(swapped).reason


@pytest.mark.parametrize("member", [None, Member(1000, 3, 2**32 - 1), Member(1000, 1, 2)])
def test_site_when_no_member_of_the_round_is_named(member: Member | None) -> None:
    memory, _, closed = study()
    site = memory.replay(closed).manifest.contributions[0].entry().site
    members = {key: value for key, value in memory.facts.members.items() if key != site}
    if member is not None:
        members[site] = member
    honest = memory.facts
    memory.facts = replace(honest, members=members)
    try:
        with pytest.raises(ReplayFailed, match=f"site {site}: .*not_member"):
            memory.replay(closed)
    finally:
        memory.facts = honest


@pytest.mark.parametrize("kind", ["update", "report", "model", "manifest"])
def test_object_when_missing_is_named(kind: str) -> None:
    memory = Memory()
    settled, closed = memory.settle()
    row = settled.manifest.contributions[1]
    cid = {
        "update": row.update.cid,
        "report": row.report.cid,
        "model": settled.manifest.model.cid,
        "manifest": memory.put(settled.manifest_data),
    }[kind]
    del memory.objects[cid]
    with pytest.raises(ObjectMissing) as failure:
        memory.replay(closed)
    assert failure.value.cid == cid


# ----------------------------------------------------------------------------- copies, exemptions


def copied(memory: Memory) -> tuple[list[tuple[Entry, str, str]], Entry]:
    """Contributions of which the last is a copy of the first; and the copy's entry."""
    sites = list(memory.keys)
    made = [memory.contribution(site) for site in sites[:-1]]
    copy = memory.contribution(sites[-1], memory.update(made[0][1]))
    return in_order([*made, copy]), copy[0]


def registering(closed: ClosedRound, *entries: Entry) -> ClosedRound:
    return replace(closed, registered=lambda: {one.site: one.pack() for one in entries})


def test_update_when_a_copy_of_another_of_the_round_is_named() -> None:
    memory = Memory()
    _, closed = memory.settle(copied(memory)[0])
    with pytest.raises(ReplayFailed, match="copied_update"):
        memory.replay(closed)


def test_update_when_a_copy_of_an_earlier_round_is_named_with_its_source() -> None:
    memory = Memory()
    settled, _ = memory.settle()
    first = memory.update(settled.manifest.contributions[0].update.cid)
    memory.go_on(settled)
    sites = list(memory.keys)
    made = [memory.contribution(sites[0], first), *map(memory.contribution, sites[1:])]
    _, closed = memory.settle(in_order(made))
    with pytest.raises(ReplayFailed, match=r"sent it in round 1 \[copied_update\]"):
        memory.replay(closed)


@pytest.mark.parametrize("which", [0, -1], ids=["the first of both", "the last of both"])
def test_copy_when_a_site_registered_exactly_it_is_exempt_and_named(which: int) -> None:
    memory = Memory()
    made, _ = copied(memory)
    same = [
        entry for entry, _, _ in made if [one[0].update for one in made].count(entry.update) > 1
    ]
    _, closed = memory.settle(made)
    replayed = memory.replayed(registering(closed, same[which]))
    assert [(one.site, one.check) for one in replayed.exemptions] == [
        (same[which].site, "copied_update")
    ]


def test_copy_when_its_site_registered_another_entry_is_not_exempt() -> None:
    memory = Memory()
    made, copy = copied(memory)
    _, closed = memory.settle(made)
    other = memory.signed(replace(copy, weight=copy.weight + 1))
    with pytest.raises(ReplayFailed, match="copied_update"):
        memory.replay(registering(closed, other))


def test_report_when_registered_without_one_is_exempt_and_another_sites_is_not() -> None:
    memory = Memory()
    made = memory.contributions()
    first, second = made[0][0], made[1][0]
    _, closed = memory.settle(made)
    del memory.objects[made[0][2]]
    with pytest.raises(ObjectMissing):
        memory.replay(registering(closed, second))
    replayed = memory.replayed(registering(closed, first))
    assert [(one.site, one.check) for one in replayed.exemptions] == [(first.site, "report")]


@pytest.mark.parametrize("word", ["banana", "", "no reply", "No_reply"])
def test_reason_when_it_is_none_of_the_protocols_is_refused(word: str) -> None:
    with pytest.raises(ValidationError, match="reason"):
        Dropped(site=STRANGER, reason=word, evidence="")


@pytest.mark.parametrize("word", ["not_member", "not_locked", "not_shown", "refused"])
def test_reason_when_the_chain_tells_otherwise_is_named(word: str) -> None:
    memory = Memory()
    made = memory.contributions()
    left_out = Dropped(site=made[0][0].site.lower(), reason=word, evidence="")
    _, closed = memory.settle(made[1:], dropped=[left_out])
    with pytest.raises(ReplayFailed, match="dropped"):
        memory.replay(closed)


# ----------------------------------------------------------------------------- specification


def test_specification_when_stored_is_read_by_its_digest() -> None:
    memory = Memory()
    assert fetch_specification(memory.facts, memory.fetch) == memory.spec


def test_specification_when_it_gives_other_parameters_fails() -> None:
    memory = Memory()
    params = replace(memory.facts.params, reward_per_round=1001)
    with pytest.raises(ReplayFailed, match="does not give the parameters on chain"):
        fetch_specification(replace(memory.facts, params=params), memory.fetch)


@pytest.mark.parametrize(
    "data", [b"{}", b"[]", b"\xff", b"{", b'{"study":{}}'], ids=lambda data: repr(data)
)
def test_specification_when_it_is_none_fails_by_name(data: bytes) -> None:
    """A sponsor may pin anything: reading it ends with an error of ours."""
    memory = Memory()
    memory.put(data)
    params = replace(memory.facts.params, specification=Digest(sha256_digest(data)))
    with pytest.raises(WardroundError):
        fetch_specification(replace(memory.facts, params=params), memory.fetch)


def test_contributions_root_when_of_other_entries_is_another() -> None:
    _, settled, _ = study()
    entries = [row.entry() for row in settled.manifest.contributions]
    assert contributions_root(entries) == settled.record.contributions
    assert contributions_root(entries[::-1]) != settled.record.contributions
