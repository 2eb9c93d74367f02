"""Events in a sentence each, and the words of the protocol in plain English."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from wardround.explorer.rows import EventRow
from wardround.explorer.web.formats import span, tokens, utc

Fields = Mapping[str, Any]
_BYTES32 = re.compile("0x[0-9a-fA-F]{64}")

#: Why a site is not in a round. Source: docs/protocol.md, section 6.
REASONS = {
    "malformed": "not a message as the protocol has them",
    "impostor": "it spoke for another site than was asked",
    "not_member": "the contract does not admit the site to this round",
    "wrong_round": "another study or round",
    "weight": "more than the site's cap or its report allows",
    "length": "the vector has not the study's length",
    "signature": "not signed by the site",
    "range": "a coordinate beyond the study's bound",
    "root": "the vector has not the signed root",
    "report": "not the signed one, or of another study, round or site",
    "code": "the site ran other code than the study's",
    "copied_update": "the same update came from another site or in an earlier round",
    "site_error": "the site answered with an error",
    "unavailable": "Flower could not reach the site",
    "no_reply": "no answer in time",
}


def short(value: object) -> str:
    """The first and last digits of a hash or address."""
    text = str(value)
    return f"{text[:10]}…{text[-4:]}" if text.startswith("0x") and len(text) > 18 else text


def reason(value: object) -> str:
    """The contract's reason, which is text in 32 bytes; anything else as it is, in short."""
    text = str(value)
    if not _BYTES32.fullmatch(text):
        return text
    read = bytes.fromhex(text[2:]).rstrip(b"\0")
    return read.decode() if read and read.isascii() and read.decode().isprintable() else short(text)


def sentence(event: EventRow) -> str:
    """What happened, in a sentence; an event without one of its own lists its fields."""
    try:
        return _SENTENCES[event.name](event.args)
    except (KeyError, TypeError, ValueError):
        shown = [(key, value) for key, value in event.args.items() if key != "study"]
        return ", ".join(f"{key} {short(value)}" for key, value in shown)


def fields(event: EventRow) -> list[tuple[str, Any]]:
    """An event's decoded fields, nested ones with a dot in their names."""
    return [
        (name, f"{value} ({reason(value)})" if name == "reason" else value)
        for name, value in _flat("", event.args)
    ]


def _flat(prefix: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [
            row
            for key, inner in value.items()
            for row in _flat(f"{prefix}.{key}" if prefix else key, inner)
        ]
    if isinstance(value, list):
        return [(prefix, ", ".join(map(str, value)) or "none")]
    return [(prefix, value)]


def _weight(fields: Fields) -> str:
    return f"{int(fields['weight']):,}"


_SENTENCES: dict[str, Callable[[Fields], str]] = {
    "StudyCreated": lambda f: (
        f"a study of {int(f['params']['rounds']):,} rounds, by sponsor "
        f"{short(f['params']['sponsor'])}, with {len(f['coordinators'])} coordinators"
    ),
    "Funded": lambda f: f"{tokens(f['amount'])} tokens from {short(f['from'])}",
    "SiteAdmitted": lambda f: (
        f"site {short(f['site'])}, from round {f['since']} on, weight up to {int(f['maxWeight']):,}"
    ),
    "SiteRemoved": lambda f: f"site {short(f['site'])}, from round {f['until']} on",
    "BondPosted": lambda f: f"{tokens(f['amount'])} tokens by {short(f['coordinator'])}",
    "BondReleased": lambda f: f"{tokens(f['amount'])} tokens back to {short(f['coordinator'])}",
    "StudyOpened": lambda f: f"round 1 is open, coordinator {short(f['coordinator'])}",
    "Contributed": lambda f: (
        f"site {short(f['site'])}, weight {_weight(f)}, update {short(f['update'])}"
    ),
    "RoundClosed": lambda f: (
        f"{f['record']['count']} sites, model {short(f['record']['model'])}, "
        f"by {short(f['coordinator'])}"
    ),
    "Attested": lambda f: (
        f"{f['signatures']} auditor{'' if int(f['signatures']) == 1 else 's'} made every round up "
        "to this one final"
    ),
    "TookOver": lambda f: f"{short(f['to'])} took over from {short(f['from'])}",
    "Claimed": lambda f: f"{tokens(f['amount'])} tokens to {short(f['payout'])}",
    "Refunded": lambda f: f"{tokens(f['amount'])} tokens back to the sponsor",
    "StudyEnded": lambda f: f"the study ends with {f['rounds']} rounds",
    "Registered": lambda f: f"site {short(f['site'])} put its own contribution on chain",
    "Overturned": lambda f: (
        f"proven wrong ({reason(f['reason'])}) by {short(f['challenger'])}; the round is open again"
    ),
    "Slashed": lambda f: (
        f"{short(f['coordinator'])} lost its bond: {tokens(f['reward'])} tokens to "
        f"{short(f['challenger'])}, {tokens(f['burnt'])} to nobody"
    ),
    "Held": lambda f: f"not final before {utc(int(f['until']))}, because a challenge goes on",
    "CoordinateProven": lambda f: (
        f"coordinate {f['coordinate']} should be {f['expected']} and is {f['recorded']}"
    ),
    "EntryProven": lambda f: f"entry {f['index']} breaks the rules",
    "OrderProven": lambda f: f"entries from {f['index']} on are not in order",
    "TotalsProven": lambda f: f"there are {f['count']} entries of weight {f['totalWeight']}",
    "OmissionProven": lambda f: f"site {short(f['site'])} had registered and was left out",
    "RewardsProven": lambda f: "the rewards do not follow from the rule",
    "WithheldProven": lambda f: "demanded data was not shown in time",
    "TallyOpened": lambda f: f"{short(f['challenger'])} counts coordinate {f['coordinate']}",
    "TallyExtended": lambda f: f"{f['count']} entries of weight {f['totalWeight']} are counted",
    "Demanded": lambda f: (
        f"{short(f['demander'])} demands data, to be shown by {utc(int(f['deadline']))}"
    ),
    "Answered": lambda f: f"{short(f['answerer'])} showed {len(f['data']) // 2 - 1:,} bytes",
    "DemandLapsed": lambda f: "the deposit goes back: the round can no longer be overturned",
    "ContributionDemanded": lambda f: (
        f"site {short(f['site'])} must show chunk {f['chunk']} by {utc(int(f['deadline']))}"
    ),
    "ContributionAnswered": lambda f: f"site {short(f['site'])} showed chunk {f['chunk']}",
    "ContributionRefused": lambda f: (
        f"the update of {short(f['site'])} leads out of a model's range at {f['coordinate']}"
    ),
    "Collected": lambda f: f"{tokens(f['amount'])} tokens to {short(f['account'])}",
}

#: A study's parameters: what the page calls them, and what they mean.
PARAMETERS: dict[str, tuple[str, str]] = {
    "sponsor": ("Sponsor", "created and funds the study"),
    "token": ("Token", "of rewards and bonds"),
    "reward_per_round": ("Reward a round", "at most, split by score"),
    "bond": ("Coordinator's bond", "lost when a round is proven wrong"),
    "rounds": ("Rounds", ""),
    "round_seconds": ("Round time", "after it a standby may take over"),
    "grace_seconds": ("Grace", "more for each place further down"),
    "challenge_seconds": ("Challenge window", "then a closed round is final"),
    "demand_seconds": ("Demand time", "to show demanded data"),
    "min_sites": ("Least sites a round", ""),
    "auditor_quorum": (
        "Auditor quorum",
        "signatures that make a round final at once; with 0, time alone does",
    ),
    "recording": (
        "Recording",
        "a closing puts on chain its entries too (full) or its record alone (root)",
    ),
    "rule": ("Aggregation rule", ""),
    "rule_argument": ("Rule's argument", "values left out at each end"),
    "scoring": ("Scoring", "by which a round's reward is split"),
    "parameter_count": ("Model parameters", ""),
    "initial_model": ("Initial model", "vector root"),
    "specification": ("Specification", "SHA-256"),
    "code": ("Code", "digest of the program that sites run"),
}
AMOUNTS = frozenset({"reward_per_round", "bond"})
SECONDS = frozenset({"round_seconds", "grace_seconds", "challenge_seconds", "demand_seconds"})


def parameter(name: str, value: Any) -> str:
    """A parameter's value as people read it."""
    if name in AMOUNTS:
        return f"{tokens(value)} tokens"
    if name in SECONDS:
        return span(value)
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if hasattr(value, "name"):
        return str(value.name).lower().replace("_", " ")
    return f"{value:,}" if isinstance(value, int) else str(value)
