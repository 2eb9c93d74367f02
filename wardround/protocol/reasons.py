"""Why a site is not in a round: the words of a manifest, and who can check each.

Source: docs/protocol.md, section 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Basis(StrEnum):
    """What stands behind a word in a manifest."""

    #: The same check holds for every contribution that is in a round, so a replay repeats it there.
    REPLAYABLE = "replayable"
    #: The chain tells whether it is true.
    CHAIN = "the chain's"
    #: What the coordinator saw is kept nowhere.
    WORD = "the coordinator's word"


@dataclass(frozen=True)
class Reason:
    """A reason: what was wrong, and what stands behind it."""

    meaning: str
    basis: Basis


#: By word.
REASONS = {
    "malformed": Reason("not a message as the protocol has them", Basis.WORD),
    "impostor": Reason("it spoke for another site than was asked", Basis.WORD),
    "wrong_round": Reason("another study or round", Basis.WORD),
    "length": Reason("the vector has not the study's length", Basis.WORD),
    "not_member": Reason("the contract does not admit the site to this round", Basis.REPLAYABLE),
    "weight": Reason(
        "not within 1 and the site's cap, or too much for one round", Basis.REPLAYABLE
    ),
    "signature": Reason("not signed by the site", Basis.REPLAYABLE),
    "range": Reason("a coordinate beyond the study's bound", Basis.REPLAYABLE),
    "root": Reason("the vector has not the signed root", Basis.REPLAYABLE),
    "report": Reason("not the signed one, or of another study, round or site", Basis.REPLAYABLE),
    "code": Reason("the site ran other code than the study's", Basis.REPLAYABLE),
    "examples": Reason("the report states fewer examples than the weight", Basis.REPLAYABLE),
    "loss": Reason("a loss made of rows without noise, in a study with privacy", Basis.REPLAYABLE),
    "privacy": Reason(
        "privacy not stated as the study has it, beyond its target, or less than before",
        Basis.REPLAYABLE,
    ),
    "copied_update": Reason(
        "the same update came from another site or in an earlier round", Basis.REPLAYABLE
    ),
    "site_error": Reason("the site answered with an error", Basis.WORD),
    "unavailable": Reason("Flower could not reach the site", Basis.WORD),
    "no_reply": Reason("no answer in time", Basis.WORD),
    "not_locked": Reason("not in the cohort that was locked", Basis.CHAIN),
    "not_shown": Reason("registered, and demanded bytes were not shown in time", Basis.CHAIN),
    "refused": Reason(
        "registered, and the update exceeds the bound or leads out of a model's range", Basis.CHAIN
    ),
}


def known_reason(word: str) -> str:
    """Give a word back.

    Raises:
        ValueError: the protocol has no such reason.
    """
    if word not in REASONS:
        raise ValueError(f"the protocol has no reason {word[:40]!r}")
    return word
