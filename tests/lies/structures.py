"""Lies in entries, in what their signatures are of, in records, closings and parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np

from tests.lies.documents import CLIPPED, STRANGER, STUDIES, before_the_last
from tests.lies.lie import Dishonest, Lie, Named, Stated, lying_node
from tests.lies.played import Played, first_model, parameters_of
from tests.protocol.rounds import CAP, PARAMETERS, address_of, in_order, key_of, random_update
from wardround.protocol.canonical import sha256_digest
from wardround.protocol.contribution import Entry
from wardround.protocol.identifiers import Digest, Root, SiteAddress, StudyId, hex_of
from wardround.protocol.record import Record, Recording, RuleId, ScoringId, StudyParams
from wardround.protocol.settlement import Vector

_HALF_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_ZERO, _OTHER = bytes(32), b"\x07" * 32
#: A contribution as it is settled: entry, CIDs of update and report.
Made = tuple[Entry, str, str]


def lies() -> Iterator[Lie]:
    yield from _of_entries()
    yield from _of_signatures()
    yield from _of_records()
    yield from _of_closings()
    yield from _of_parameters()
    yield from _of_parties()


def _failed(words: str) -> Named:
    return Named("replay-failed", words)


# ---------------------------------------------------------------- entries


def _with_entry(change: Callable[[Played, Made], Made]) -> Dishonest:
    """Settle the last round consistently with another contribution in the place of the first."""
    played = before_the_last(CLIPPED).forked()
    made = played.cohort()
    made[0] = change(played, made[0])
    settled, _ = played.settle(in_order(made), [played.left_out])
    played.close(settled.record)
    return Dishonest.of(played)


def _weighing(weight: int) -> Callable[[Played, Made], Made]:
    return lambda played, made: played.contribution(made[0].site, weight=weight)


def _sending(update: Callable[[Played], Any]) -> Callable[[Played, Made], Made]:
    return lambda played, made: played.contribution(made[0].site, update(played))


def _by(key: bytes) -> Callable[[Played, Made], Made]:
    """Sign as another site, which the study never admitted."""

    def change(played: Played, made: Made) -> Made:
        site = address_of(key)
        report = played.report(site)
        entry = replace(made[0], site=site, report=sha256_digest(report))
        return played.signed(entry, key), made[1], played.put(report)

    return change


def _signature(bend: Callable[[bytes], bytes]) -> Callable[[Played, Made], Made]:
    return lambda played, made: (
        replace(made[0], signature=bend(made[0].signature)),
        made[1],
        made[2],
    )


def _high_s(signature: bytes) -> bytes:
    s = _HALF_ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([signature[64] ^ 7])


def _reporting(report: Callable[[Played, Made], bytes]) -> Callable[[Played, Made], Made]:
    return lambda played, made: played.contribution(made[0].site, report=report(played, made))


def _of_another_site(played: Played, made: Made) -> bytes:
    return played.report(list(played.keys)[1])


def _far(value: int) -> Callable[[Played], Any]:
    def update(played: Played) -> Any:
        made = random_update(7)
        made[PARAMETERS - 1] = value
        return made

    return update


def _of_entries() -> Iterator[Lie]:
    bound = STUDIES[CLIPPED].update_limit
    copied = _failed("[copied_update]")
    rows: tuple[tuple[str, str, Callable[[Played, Made], Made], Named | Stated], ...] = (
        ("site", "a stranger, with a key of its own", _by(key_of(77)), _failed("[not_member]")),
        ("weight", "one above the cap", _weighing(CAP + 1), _failed("[weight]")),
        ("weight", "2^31 - 2000", _weighing(2**31 - 2000), _failed("[weight]")),
        ("weight", "the cap", _weighing(CAP), Stated("entry.weight")),
        ("weight", "one", _weighing(1), Stated("entry.weight")),
        ("update", "of another site", _sending(lambda played: played.update(
            played.cohort()[1][1])), copied),
        ("update", "of the round before", _sending(lambda played: random_update(100)), copied),
        ("update", "beyond the bound", _sending(_far(bound + 1)), _failed("[range]")),
        ("update", "below the bound", _sending(_far(-bound - 1)), _failed("[range]")),
        ("update", "smallest integer", _sending(_far(-(2**31))), _failed("[range]")),
        ("update", "at the bound", _sending(_far(bound)), Stated("entry.update")),
        ("update", "all zero", _sending(lambda played: np.zeros(PARAMETERS, np.int32)),
         Stated("entry.update")),
        ("report", "of another site", _reporting(_of_another_site), _failed("[report]")),
        ("report", "no report", _reporting(lambda played, made: b"no"), _failed("[report]")),
        ("report", "of the round before", _reporting(lambda played, made: played.report(
            made[0].site, round=1)), _failed("[report]")),
        ("report", "too long", _reporting(lambda played, made: b'"' + b"x" * 20_000 + b'"'),
         Named("object-too-large", "")),
        ("report", "of more than the site has", _reporting(lambda played, made: played.report(
            made[0].site, examples=2**40)), Stated("report.examples")),
        ("signature", "all zero", _signature(lambda one: bytes(65)), _failed("[signature]")),
        ("signature", "high s", _signature(_high_s), _failed("[signature]")),
        ("signature", "v of 0 or 1", _signature(lambda one: one[:64] + bytes([one[64] - 27])),
         _failed("[signature]")),
        ("signature", "one bit", _signature(lambda one: bytes([one[0] ^ 1]) + one[1:]),
         _failed("[signature]")),
    )  # fmt: skip
    for field, how, change, expected in rows:
        yield Lie(f"entry.{field}", how, expected, partial(_with_entry, change))


# ---------------------------------------------------------------- what a signature is of


def _signed_as(
    statement: Mapping[str, Any], domain: Mapping[str, Any]
) -> Callable[[Played, Made], Made]:
    """Sign another statement with the site's key, or the same for another contract."""

    def bend(played: Played, made: Made) -> Made:
        entry, facts = made[0], played.facts
        signed = entry.contribution(facts.study, played.round, played.base.root)
        signature = replace(signed, **statement).sign(
            replace(facts.domain, **domain), played.keys[entry.site]
        )
        return replace(entry, signature=signature), made[1], made[2]

    return bend


def _of_signatures() -> Iterator[Lie]:
    others: Mapping[str, tuple[Any, ...]] = {
        "study": (StudyId(_OTHER), StudyId(_ZERO)),
        "round": (1, 0, 2**32 - 1),
        "base_model": (Root(_ZERO), Root(_OTHER)),
        "site": (SiteAddress(address_of(key_of(77))),),
        "update": (Root(_ZERO),),
        "weight": (1, 2**64 - 1),
        "report": (Digest(_ZERO),),
    }
    named = _failed("[signature]")
    for field, values in others.items():
        for value in values:
            bend = _signed_as({field: value}, {})
            shown = value if isinstance(value, int | str) else hex_of(value)[:8]
            yield Lie(
                f"contribution.{field}", f"signed as {shown}", named, partial(_with_entry, bend)
            )
    for field, value in (("chain_id", 1), ("chain_id", 31338), ("contract", STRANGER)):
        bend = _signed_as({}, {field: value})
        yield Lie(f"domain.{field}", f"signed for {value}", named, partial(_with_entry, bend))


# ---------------------------------------------------------------- record and closing


def _with_record(**changes: Any) -> Dishonest:
    """Close the last round with another record, and all else as it is."""
    played = before_the_last(CLIPPED).forked()
    settled, _ = played.settle(played.cohort(), [played.left_out])
    played.close(replace(settled.record, **changes))
    return Dishonest.of(played)


def _with_model() -> Dishonest:
    """Close the last round with a wrong model that is stored, and named by manifest and record."""
    played = before_the_last(CLIPPED).forked()
    settled, _ = played.settle(played.cohort(), [played.left_out])
    values = settled.model.values.copy()
    values[0] += 1
    model = Vector.of(values)
    manifest = settled.manifest.model_copy(update={"model": model.ref()}).encode()
    played.put(model.data)
    played.put(manifest)
    played.close(replace(settled.record, model=model.root, manifest=sha256_digest(manifest)))
    return Dishonest.of(played)


def _of_records() -> Iterator[Lie]:
    another = _failed("record: the recomputed one is another")
    values: Mapping[str, tuple[tuple[Any, Named], ...]] = {
        "contributions": ((Root(_ZERO), another), (Root(_OTHER), another)),
        "model": ((Root(_ZERO), _failed("model: the recomputed root is another")),
                  (Root(_OTHER), _failed("model: the recomputed root is another"))),
        "manifest": ((Digest(_ZERO), Named("object-missing", "")),
                     (Digest(_OTHER), Named("object-missing", ""))),
        "commitments": ((Root(_ZERO), _failed("commitments: the record's root is another")),
                        (Root(_OTHER), _failed("commitments: the record's root is another"))),
        "count": ((2, another), (4, another)),
        "total_weight": ((3, another), (1000, another)),
    }  # fmt: skip
    for field, pairs in values.items():
        for value, named in pairs:
            shown = value if isinstance(value, int) else hex_of(value)[:8]
            make = partial(_with_record, **{field: value})
            yield Lie(f"record.{field}", f"is {shown}", named, make)
    named = _failed("model: the recomputed root is another")
    yield Lie("record.model", "wrong, and so all the way", named, _with_model)


def _shown(event: str, word: int, value: bytes, *, last: bool = True) -> Dishonest:
    """The honest study, of which a node shows one word of an event's data as another."""
    played = before_the_last(CLIPPED).forked()
    played.play()
    topic = hex_of(played.ward.contract.event_topic(event))

    def answer(method: str, params: Any, result: Any) -> Any:
        if method != "eth_getLogs":
            return result
        found = [log for log in result if log["topics"][0] == topic]
        for log in found[-1:] if last else found:
            data = bytes.fromhex(log["data"][2:])
            data = data[: 32 * word] + value + data[32 * word + 32 :]
            result = [{**one, "data": hex_of(data)} if one is log else one for one in result]
        return result

    return Dishonest.of(played, lying_node(played, answer))


def _of_closings() -> Iterator[Lie]:
    named = Named("study-mismatch", "closing of round 2")
    first = {"record": 0, "coordinator": len(fields(Record)), "closed_at": len(fields(Record)) + 1}
    for field, word in first.items():
        for how, value in (("one", 1), ("zero", 0)):
            shown = value.to_bytes(32, "big")
            make = partial(_shown, "RoundClosed", word, shown)
            yield Lie(f"closing.{field}", f"shown as {how} by a lying node", named, make)


# ---------------------------------------------------------------- parameters

#: Values that the contract takes as well, and the study's specification does not give.
_ACCEPTED: Mapping[str, tuple[Any, ...]] = {
    "reward_per_round": (999, 0, 2**96),
    "bond": (1,),
    "deposit": (1,),
    "closing_fee": (1,),
    "attesting_fee": (1,),
    "rounds": (1, 3, 2**32 - 2),
    "challenge_seconds": (3600,),
    "objection_seconds": (600,),
    "round_seconds": (600,),
    "grace_seconds": (12,),
    "registration_seconds": (12,),
    "demand_seconds": (600,),
    "lifetime_seconds": (86_400,),
    "min_sites": (1, 3),
    "auditor_quorum": (1,),
    "recording": (Recording.FULL,),
    "locked_cohort": (True,),
    "rule": (RuleId.MEAN,),
    "scoring": (ScoringId.EXAMPLES,),
    "update_bound": (1, 2**31 - 1),
}
#: What has no value 3.
_FEW_VALUES = ("recording", "locked_cohort", "scoring")
#: What a study's own add to its specification, and who can tell whether it is right.
_OWN: Mapping[str, tuple[Any, Named | Stated]] = {
    "token": (STRANGER, Stated("parameters.token")),
    "parameter_count": (PARAMETERS + 1, Stated("parameters.parameter_count")),
    "initial_model": (Root(_OTHER), Stated("parameters.initial_model")),
    "specification": (Digest(_OTHER), Named("object-missing", "")),
    "code": (Digest(_OTHER), Stated("parameters.code")),
}


def _created(**changes: Any) -> Dishonest:
    """Create a study with other parameters than its specification gives."""
    spec = STUDIES[CLIPPED]
    params = replace(parameters_of(spec, Vector.of(first_model())), **changes)
    return Dishonest.of(Played.created(spec, params))


def _of_parameters() -> Iterator[Lie]:
    named = _failed("specification: it does not give the parameters on chain")
    for field, values in _ACCEPTED.items():
        for value in values:
            make = partial(_created, **{field: value})
            yield Lie(f"parameters.{field}", f"is {value}", named, make)
    for field, (value, expected) in _OWN.items():
        make = partial(_created, **{field: value})
        yield Lie(f"parameters.{field}", "another", expected, make)
    for word, one in enumerate(fields(StudyParams)):
        # Small enough for every type; no study has it.
        make = partial(_shown, "StudyCreated", word, (3).to_bytes(32, "big"))
        unknown = Named("study-mismatch", "study is ")
        if one.name in _FEW_VALUES:
            unknown = Named("chain", "that cannot be one")
        yield Lie(f"parameters.{one.name}", "shown by a lying node", unknown, make)


def _of_parties() -> Iterator[Lie]:
    named = Named("study-mismatch", "coordinators and auditors")
    # Behind the parameters: two offsets, then each list's length and its addresses.
    start = len(fields(StudyParams)) + 2
    for place, field in ((1, "coordinators"), (3, "auditors")):
        for value in (0, 7):
            make = partial(_shown, "StudyCreated", start + place, value.to_bytes(32, "big"))
            yield Lie(f"parties.{field}", f"shown as {value} by a lying node", named, make)
