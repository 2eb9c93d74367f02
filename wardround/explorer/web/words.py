"""Events in a sentence each, and the words of the protocol in plain English."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from string import Formatter
from typing import Any

from wardround.chain.amounts import tokens_of
from wardround.explorer.rows import EventRow
from wardround.explorer.web import formats
from wardround.explorer.web.formats import span, utc

_BYTES32 = re.compile("0x[0-9a-fA-F]{64}")


def short(value: object) -> str:
    """The first and last digits of a hash or address; other values as they are."""
    text = str(value)
    return formats.short(text) if text.startswith("0x") else text


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
        known = {**event.args, "sender": event.sender}
        return _Writer(event.decimals).vformat(_SENTENCES[event.name], (), known)
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


#: How a field of a sentence is written, by its format specification; others are of integers.
_FORMATS: dict[str, Callable[[Any], str]] = {
    "": str,
    "short": short,
    "account": lambda address: "an account" if address is None else short(address),
    "reason": reason,
    "utc": lambda seconds: utc(int(seconds)),
    "count": lambda items: str(len(items)),
    "bytes": lambda data: f"{len(data) // 2 - 1:,}",
    "auditors": lambda count: f"{count} auditor{'' if int(count) == 1 else 's'}",
}


class _Writer(Formatter):
    """Writes fields; amounts by the decimals of a study's token."""

    def __init__(self, decimals: int) -> None:
        self._decimals = decimals

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec == "tokens":
            return tokens_of(int(value), self._decimals)
        if format_spec in _FORMATS:
            return _FORMATS[format_spec](value)
        return format(int(value), format_spec)


_SENTENCES = {
    "StudyCreated": "a study of {params[rounds]:,} rounds, by sponsor {params[sponsor]:short}, "
    "with {coordinators:count} coordinators",
    "Funded": "{amount:tokens} tokens from {from:short}",
    "SiteAdmitted": "site {site:short}, from round {since} on, weight up to {maxWeight:,}",
    "SiteRemoved": "site {site:short}, from round {until} on",
    "PayoutChanged": "rewards of site {site:short} go to {payout:short}",
    "BondPosted": "{amount:tokens} tokens by {coordinator:short}",
    "BondReleased": "{amount:tokens} tokens back to {coordinator:short}",
    "StudyOpened": "round 1 is open, coordinator {coordinator:short}",
    "Contributed": "site {site:short}, weight {weight:,}, update {update:short}",
    "RoundClosed": "{record[count]} sites, model {record[model]:short}, by {coordinator:short}",
    "Attested": "{attestations:auditors} made every round up to this one final",
    "AttestingFeeShared": "{share:tokens} tokens for each of the auditors who attested",
    "ClosingFeePaid": "{amount:tokens} tokens to {coordinator:short} for closing the round",
    "CohortLocked": "{coordinator:short} fixed {count} contributions: the round is closed with "
    "these alone",
    "TookOver": "{to:short} took over from {from:short}",
    "Claimed": "{amount:tokens} tokens of round {round} to {payout:short}",
    "Refunded": "{amount:tokens} tokens back to the sponsor",
    "StudyEnded": "the study ends with {rounds} rounds",
    "Registered": "{sender:short} put the contribution of site {site:short} on chain",
    "Overturned": "proven wrong ({reason:reason}) by {challenger:short}; the round is open again",
    "Slashed": "{coordinator:short} lost its bond: {reward:tokens} tokens to {challenger:short}, "
    "{burnt:tokens} are burnt",
    "Held": "not final before {until:utc}, because a challenge goes on",
    "CoordinateProven": "coordinate {coordinate} should be {expected} and is {recorded}",
    "EntryProven": "entry {index} breaks the rules",
    "NodeProven": "a number of row {row} is not what it is computed from",
    "ScoreProven": "the score of entry {index} does not follow from its row",
    "RankProven": "the rank of entry {index} is not the sum of its distances",
    "OrderProven": "entries from {index} on are not in order",
    "TotalsProven": "there are {count} entries of weight {totalWeight}",
    "OmissionProven": "site {site:short} had registered and was left out",
    "WithheldProven": "demanded data was not shown in time",
    "TallyOpened": "{challenger:short} counts coordinate {coordinate}",
    "TallyExtended": "{count} entries of weight {totalWeight} are counted",
    "TallyClosed": "{sender:account} ended a tally of {challenger:short}, which overturned "
    "nothing; {to:short} is owed its deposit",
    "Committed": "{challenger:short} committed to a challenge, to be revealed by {until:utc}",
    "Revealed": "{challenger:short} revealed the challenge that it had committed to",
    "CommitmentClosed": "{sender:account} ended a commitment of {challenger:short}, which was not "
    "revealed; {to:short} is owed its deposit",
    "Demanded": "{demander:short} demands data, to be shown by {deadline:utc}",
    "Answered": "{answerer:short} showed {opening:bytes} bytes, path included",
    "DemandLapsed": "{sender:account} ended a demand of {demander:short}, who is owed its deposit: "
    "the round can no longer be overturned",
    "ContributionDemanded": "site {site:short} must show chunk {chunk} by {deadline:utc}",
    "ContributionAnswered": "the update of site {site:short} was shown from chunk {first} on",
    "ContributionClosed": "{amount:tokens} tokens for the registration of site {site:short} are "
    "owed to {to:short}",
    "ContributionRefused": "the update of {site:short} exceeds the bound, or leads out of a "
    "model's range, at {coordinate}",
    "Collected": "{amount:tokens} tokens to {account:short}",
}

#: A study's parameters: what the page calls them, and what they mean.
PARAMETERS: dict[str, tuple[str, str]] = {
    "sponsor": ("Sponsor", "created and funds the study"),
    "token": ("Token", "of rewards and bonds"),
    "reward_per_round": ("Reward a round", "at most, split by the scoring"),
    "bond": ("Coordinator's bond", "lost when a round is proven wrong"),
    "deposit": ("Deposit", "of a registration, a demand, a tally and a commitment"),
    "closing_fee": ("Closing fee", "of a final round, to who closed it"),
    "attesting_fee": ("Attesting fee", "of a final round, to the auditors who attested it"),
    "rounds": ("Rounds", ""),
    "challenge_seconds": ("Challenge window", "then a closed round is final"),
    "objection_seconds": ("Objection time", "before it no attestation counts"),
    "round_seconds": ("Round time", "after it a standby may take over"),
    "grace_seconds": ("Grace", "more for each place further down"),
    "registration_seconds": ("Registration", "time for sites to register contributions"),
    "demand_seconds": ("Demand time", "to show demanded data"),
    "lifetime_seconds": ("Lifetime", "from the opening; afterwards any account may end the study"),
    "min_sites": ("Least sites a round", ""),
    "auditor_quorum": (
        "Auditor quorum",
        "signatures that make a round final after its objection time; with 0, time alone does",
    ),
    "recording": (
        "Recording",
        "a closing puts on chain its entries too (full) or its record alone (root)",
    ),
    "locked_cohort": (
        "Cohort locked",
        "whether a round's contributions are fixed on chain before it is closed with them",
    ),
    "rule": ("Aggregation rule", ""),
    "rule_argument": ("Rule's argument", "values left out at each end, or updates left out"),
    "scoring": ("Scoring", "by which a round's reward is split"),
    "parameter_count": ("Model parameters", ""),
    "update_bound": ("Update bound", "largest magnitude of a coordinate, in fixed point"),
    "initial_model": ("Initial model", "vector root"),
    "specification": ("Specification", "SHA-256"),
    "code": ("Code", "digest of the program that sites run"),
    "parties": ("Parties", "hash of the lists of coordinators and auditors"),
}


def parameter(name: str, value: Any, decimals: int) -> str:
    """A parameter's value as people read it; an amount by its token's decimals."""
    if name in ("reward_per_round", "bond", "deposit", "closing_fee", "attesting_fee"):
        return f"{tokens_of(value, decimals)} tokens"
    if name.endswith("_seconds"):
        return span(value)
    if name == "locked_cohort":
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if hasattr(value, "name"):
        return str(value.name).lower().replace("_", " ")
    return f"{value:,}" if isinstance(value, int) else str(value)
