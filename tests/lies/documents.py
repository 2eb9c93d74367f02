"""Lies in a manifest, and in a report that its site signs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

from tests.lies.lie import Dishonest, Lie, Named, Stated
from tests.lies.played import Played, keys, specification
from tests.lies.schemas import DOCUMENTS, document_fields, place_of, takes, value_at
from tests.lies.values import ABSENT, changed, odd_bytes, others
from wardround.protocol.canonical import canonical_bytes, sha256_digest
from wardround.protocol.reasons import REASONS, Basis
from wardround.protocol.settlement import Settlement

STRANGER = "0x" + "5a" * 20
CLIPPED, PRIVATE, FULL, KRUM, LOCKED = "clipped", "private", "full", "krum", "locked"
STUDIES = {
    CLIPPED: specification(
        aggregation={"rule": "clipped_mean", "min_sites": 2}, rewards={"scoring": "projection"}
    ),
    PRIVATE: specification(
        privacy={
            "noise_multiplier": 1.0,
            "max_grad_norm": 1.0,
            "delta": 1e-5,
            "target_epsilon": 8.0,
        }
    ),
    FULL: specification(chain={"recording": "full"}),
    LOCKED: specification(chain={"locked_cohort": True}),
    KRUM: specification(aggregation={"rule": "multi_krum", "hostile": 1, "min_sites": 3}),
}


@cache
def before_the_last(kind: str) -> Played:
    """A study whose last round is open, played honestly so far."""
    played = Played.created(STUDIES[kind]).opened()
    played.play()
    return played


@cache
def _honest(kind: str) -> Settlement:
    """The last round as an honest coordinator would settle it; its objects are stored."""
    played = before_the_last(kind)
    return played.settle(played.cohort(), [played.left_out])[0]


def honest() -> Dishonest:
    """The study that most lies are about, to its end, without any."""
    played = before_the_last(CLIPPED).forked()
    played.play()
    return Dishonest.of(played)


def lies() -> Iterator[Lie]:
    yield from _of_manifest(CLIPPED)
    yield from _of_entries_on_chain()
    yield from _of_dropped()
    yield from _of_reports(CLIPPED)
    yield from _of_reports(PRIVATE)
    yield from _stated_in_reports()


# ---------------------------------------------------------------- manifest

#: What names a manifest's field that is of the right form and wrong, by the first that fits.
_MANIFEST = (
    ("base.root", Named("replay-failed", "base model: not the round before's")),
    ("model.cid", Named("object-missing", "")),
    ("contributions[].site", Named("replay-failed", "[not_member]")),
    ("contributions[].update.cid", Named("object-missing", "")),
    ("contributions[].report.cid", Named("object-missing", "")),
    ("contributions[].", Named("replay-failed", "[signature]")),
    ("contributions", Named("replay-failed", "contributions: not sorted by site")),
    ("dropped[].site", Named("replay-failed", "dropped:")),
    ("commitments.*.root", Named("replay-failed", "commitments: the record's root is another")),
    ("commitments.*.cid", Named("object-missing", "")),
    ("commitments", Named("replay-failed", "commitments:")),
    ("", Named("replay-failed", "manifest: the recomputed one is another")),
)
#: The same of single values.
_MANIFEST_VALUES: Mapping[tuple[str, str], Named | Stated] = {
    ("contributions", "one less"): Named("replay-failed", "model: the recomputed root is another"),
    ("contributions", "one twice"): Named("malformed", "stands twice"),
    ("dropped", "none"): Stated("manifest.dropped"),
    ("dropped", "one less"): Stated("manifest.dropped"),
    ("dropped", "one twice"): Named("replay-failed", "dropped:"),
}
_TAKEN = ("dropped[].reason", "dropped[].evidence")


def _named(field: str, how: str) -> Named | Stated:
    if (field, how) in _MANIFEST_VALUES:
        return _MANIFEST_VALUES[field, how]
    if field in _TAKEN:
        return Stated(f"manifest.{field}")
    return next(named for start, named in _MANIFEST if field.startswith(start))


def _with_manifest(kind: str, written: bytes) -> Dishonest:
    """Close the last round with another manifest, and all else as it is."""
    settled, played = _honest(kind), before_the_last(kind).forked()
    played.put(written)
    entries = [row.entry() for row in settled.manifest.contributions]
    played.close(replace(settled.record, manifest=sha256_digest(written)), entries)
    return Dishonest.of(played)


def _of_manifest(kind: str) -> Iterator[Lie]:
    document = json.loads(_honest(kind).manifest_data)
    for how, data in odd_bytes(_honest(kind).manifest_data):
        named = Named("malformed", "manifest is malformed: ")
        yield Lie("manifest", how, named, partial(_with_manifest, kind, data))
    for path, field in document_fields(DOCUMENTS["manifest"]):
        place = place_of(document, path)
        assert place is not None, f"the honest manifest has no {path}"
        shown = ".".join(map(str, place))
        for how, value in others(value_at(document, place), path):
            expected: Named | Stated = Named("malformed", f"manifest is malformed: {shown}")
            if value is not ABSENT and takes(field, value):
                expected = _named(path, how)
            elif str(value).startswith("wardround/"):
                expected = Named("protocol", "made by protocol wardround/")
            written = canonical_bytes(changed(document, place, value))
            make = partial(_with_manifest, kind, written)
            yield Lie(f"manifest.{path}", how, expected, make)


def _of_entries_on_chain() -> Iterator[Lie]:
    """With full recording the entries are in the transaction as well."""
    document = json.loads(_honest(FULL).manifest_data)
    named = Named("replay-failed", "contributions: the manifest's differ from those in the")
    for field, value in (
        ("contributions[].weight", 1),
        ("contributions[].update.root", "0x" + "00" * 32),
        ("contributions[].report.sha256", "0x" + "00" * 32),
        ("contributions[].signature", "0x" + "00" * 65),
        ("contributions", document["contributions"][1:]),
    ):
        place = place_of(document, field)
        assert place is not None
        written = canonical_bytes(changed(document, place, value))
        make = partial(_with_manifest, FULL, written)
        yield Lie(f"manifest.{field}", "another than in the transaction", named, make)


def _dropping(**changes: Any) -> Dishonest:
    """Close the last round consistently, with another row of the site that was left out."""
    played = before_the_last(CLIPPED).forked()
    row = played.left_out.model_copy(update=changes)
    settled, _ = played.settle(played.cohort(), [row])
    played.close(settled.record)
    return Dishonest.of(played)


def _of_dropped() -> Iterator[Lie]:
    contradicted = Named("replay-failed", "dropped:")
    by_chain = {
        "not_member": Named("replay-failed", "is a member, and was dropped as none"),
        "not_locked": Named("replay-failed", "was dropped for a lock, and the study has none"),
        "not_shown": Named("replay-failed", "was dropped as not_shown, and has registered nothing"),
        "refused": Named("replay-failed", "was dropped as refused, and has registered nothing"),
    }
    # Of these the chain knows whether they are true, and of members.
    known_by_chain = {word for word, reason in REASONS.items() if reason.basis is Basis.CHAIN}
    assert by_chain.keys() == {*known_by_chain, "not_member"}
    for word in REASONS:
        expected: Named | Stated = by_chain.get(word) or Stated("manifest.dropped[].reason")
        yield Lie("manifest.dropped[].reason", word, expected, partial(_dropping, reason=word))
    for word in ("banana", "Range", "range ", "", "r\u0430nge", "weight\u200b"):
        named = Named("malformed", "manifest is malformed: dropped.0.reason")
        make = partial(_dropping, reason=word)
        yield Lie("manifest.dropped[].reason", f"no reason: {word!r}", named, make)
    evidence = "manifest.dropped[].evidence"
    long = Named("malformed", "manifest is malformed: dropped.0.evidence")
    yield Lie(evidence, "too long", long, partial(_dropping, evidence="x" * 301))
    for how, words in (
        ("invented", "a loss of NaN"),
        ("markup", "<script>alert(1)</script>\u202e"),
    ):
        yield Lie(evidence, how, Stated(evidence), partial(_dropping, evidence=words))
    first = next(iter(keys())).lower()
    for how, site in (("a stranger", STRANGER), ("one that contributed", first)):
        yield Lie("manifest.dropped[].site", how, contradicted, partial(_dropping, site=site))


# ---------------------------------------------------------------- report

#: What names a report's field that is of the right form and wrong.
_REPORT: Mapping[str, Named | Stated] = {
    "study": Named("replay-failed", "[report]"),
    "round": Named("replay-failed", "[report]"),
    "site": Named("replay-failed", "[report]"),
    "code": Named("replay-failed", "[code]"),
    "examples": Stated("report.examples"),
    "metrics": Stated("report.metrics.train_loss"),
    "seconds": Stated("report.seconds"),
    "privacy": Named("replay-failed", "[privacy]"),
    "privacy.delta": Named("replay-failed", "[privacy]"),
    "privacy.epsilon": Named("replay-failed", "[privacy]"),
    "privacy.epsilon_replaced": Stated("report.privacy.epsilon_replaced"),
}
_REPORT_VALUES: Mapping[tuple[str, str], Named | Stated] = {
    ("examples", "more"): Stated("report.examples"),
    ("privacy.epsilon", "a fraction"): Stated("report.privacy.epsilon"),
    ("privacy.epsilon", "more"): Stated("report.privacy.epsilon"),
    ("privacy.epsilon_replaced", "huge"): Named("replay-failed", "[privacy]"),
    ("privacy.epsilon_replaced", "zero"): Named("replay-failed", "[privacy]"),
}


def with_report(kind: str, written: bytes) -> Dishonest:
    """Have the first site sign a report, and the coordinator take it."""
    played = before_the_last(kind).forked()
    first = next(iter(played.keys))
    made = played.cohort()
    made[0] = played.contribution(first, report=written)
    settled, _ = played.settle(made, [played.left_out])
    played.close(settled.record)
    return Dishonest.of(played)


def _document(kind: str) -> Any:
    played = before_the_last(kind)
    return json.loads(played.report(next(iter(played.keys))))


def _of_reports(kind: str) -> Iterator[Lie]:
    document = _document(kind)
    for how, data in odd_bytes(canonical_bytes(document)) if kind == CLIPPED else ():
        named = Named("replay-failed", "[report]")
        yield Lie("report", how, named, partial(with_report, kind, data))
    for path, field in document_fields(DOCUMENTS["report"]):
        place = place_of(document, path)
        if place is None:
            # The other kind of study has it.
            continue
        for how, value in others(value_at(document, place), path):
            expected: Named | Stated = Named("replay-failed", "[report]")
            if value is not ABSENT and takes(field, value):
                expected = _REPORT_VALUES.get((path, how), _REPORT[path])
            written = canonical_bytes(changed(document, place, value))
            make = partial(with_report, kind, written)
            where = "" if kind == CLIPPED else ", in a study with privacy"
            yield Lie(f"report.{path}", how + where, expected, make)


def _stated_in_reports() -> Iterator[Lie]:
    spent = {"delta": 1e-5, "epsilon": 1.0, "epsilon_replaced": 2.0}
    reported, loss = Named("replay-failed", "[report]"), "report.metrics.train_loss"
    privacy = Named("replay-failed", "[privacy]")
    rows: tuple[tuple[str, str, str, dict[str, Any], Named | Stated], ...] = (
        (CLIPPED, loss, "accuracy", {"metrics": {"accuracy": 5}}, reported),
        (CLIPPED, loss, "AUC", {"metrics": {"auc": -3}}, reported),
        (CLIPPED, loss, "two", {"metrics": {"train_loss": 0.5, "auc": 0.5}}, reported),
        (CLIPPED, loss, "negative", {"metrics": {"train_loss": -0.5}}, reported),
        (CLIPPED, loss, "beyond a million", {"metrics": {"train_loss": 1e7}}, reported),
        (CLIPPED, loss, "many digits", {"metrics": {"train_loss": 0.123456789}}, reported),
        (CLIPPED, loss, "text", {"metrics": {"train_loss": "0.5"}}, reported),
        (CLIPPED, loss, "null", {"metrics": {"train_loss": None}}, reported),
        (CLIPPED, loss, "zero", {"metrics": {"train_loss": 0}}, Stated(loss)),
        (CLIPPED, loss, "a million", {"metrics": {"train_loss": 1e6}}, Stated(loss)),
        (PRIVATE, loss, "with privacy", {"metrics": {"train_loss": 0.5}},
         Named("replay-failed", "[loss]")),
        (CLIPPED, "report.examples", "below the weight", {"examples": 9},
         Named("replay-failed", "[examples]")),
        (CLIPPED, "report.examples", "2^53", {"examples": 2.0**53}, reported),
        (CLIPPED, "report.examples", "very many", {"examples": 2**53 - 1},
         Stated("report.examples")),
        (CLIPPED, "report.seconds", "half a year", {"seconds": 2**24 - 1},
         Stated("report.seconds")),
        (CLIPPED, "report.seconds", "2^24", {"seconds": 2**24}, reported),
        (CLIPPED, "report.privacy", "though none is asked for", {"privacy": spent}, privacy),
        (PRIVATE, "report.privacy", "none", {"privacy": None}, privacy),
        (PRIVATE, "report.privacy.epsilon", "more than replaced",
         {"privacy": {**spent, "epsilon": 3.0}}, privacy),
        (PRIVATE, "report.privacy.epsilon", "less than before",
         {"privacy": {**spent, "epsilon": 0.25}}, privacy),
        (PRIVATE, "report.privacy.epsilon", "as before", {"privacy": {**spent, "epsilon": 0.5}},
         Stated("report.privacy.epsilon")),
        (PRIVATE, "report.privacy.epsilon_replaced", "beyond the target",
         {"privacy": {**spent, "epsilon_replaced": 8.5}}, privacy),
        (PRIVATE, "report.privacy.epsilon_replaced", "less than before",
         {"privacy": {**spent, "epsilon": 0.5, "epsilon_replaced": 0.75}}, privacy),
        (PRIVATE, "report.privacy.epsilon_replaced", "at the target",
         {"privacy": {**spent, "epsilon_replaced": 8.0}},
         Stated("report.privacy.epsilon_replaced")),
        (PRIVATE, "report.privacy.delta", "twice as large", {"privacy": {**spent, "delta": 2e-5}},
         privacy),
        (PRIVATE, "report.privacy.delta", "one", {"privacy": {**spent, "delta": 1}}, reported),
    )  # fmt: skip
    for kind, field, how, changes, expected in rows:
        document = _document(kind) | changes
        yield Lie(field, how, expected, partial(with_report, kind, canonical_bytes(document)))
