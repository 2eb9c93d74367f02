"""The report of a chaos run, in Markdown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from tests.chaos.promises import Verdict
from tests.chaos.run import Course, Outcome

#: How the words end for what happens at a named point.
_WITH_POINTS = ("killed", "took over")
#: A coordinator, and under Flower each of its processes.
_RESTARTED = (
    "active coordinator killed",
    "ServerApp killed",
    "SuperLink killed",
    "coordinator run killed",
    "door killed",
)


@dataclass(frozen=True)
class Leg:
    """One study of a chaos run."""

    course: Course
    verdict: Verdict
    seconds: float


@dataclass(frozen=True)
class Setting:
    """How it was run.

    Attributes:
        engine: in words.
        round_seconds: and grace: of the contract.
    """

    command: str
    engine: str
    seed: int
    sites: int
    standbys: int
    round_seconds: int
    grace_seconds: int


def kills(legs: Sequence[Leg]) -> int:
    """How many processes died."""
    return sum(outcome.deaths for leg in legs for outcome in leg.course.outcomes)


def broken(legs: Sequence[Leg]) -> list[str]:
    """Every broken promise of every study."""
    return [
        f"study {number}: {words}"
        for number, leg in enumerate(legs, 1)
        for words in leg.verdict.broken
    ]


def report(setting: Setting, legs: Sequence[Leg]) -> str:
    """Write the report."""
    return "\n".join(_lines(setting, legs)) + "\n"


def _lines(setting: Setting, legs: Sequence[Leg]) -> Iterator[str]:
    outcomes = [outcome for leg in legs for outcome in leg.course.outcomes]
    yield "# Chaos report"
    yield ""
    yield f"`{setting.command}`"
    yield ""
    yield (
        f"{kills(legs)} processes killed and "
        f"{sum(1 for one in outcomes if one.deaths == 0)} other troubles in {len(legs)} "
        f"{'study' if len(legs) == 1 else 'studies'} of {setting.sites} sites with a guard each, "
        f"{1 + setting.standbys} coordinators and a development chain; seed {setting.seed}. "
        f"{setting.engine}"
    )
    yield ""
    yield from _promises(legs)
    yield ""
    yield from _recovery(setting, legs, outcomes)
    left_out = sorted({words for leg in legs for words in leg.course.left_out})
    if left_out:
        yield ""
        yield "Left out: " + "; ".join(left_out) + "."


def _promises(legs: Sequence[Leg]) -> Iterator[str]:
    def total(name: str) -> int:
        return sum(getattr(leg.verdict, name) for leg in legs)

    yield "| promise | counted |"
    yield "| --- | --- |"
    yield f"| rounds closed | {total('rounds')} |"
    yield f"| models equal to the undisturbed run | {total('roots_equal')} of {total('rounds')} |"
    yield f"| rounds that the audit recomputed | {total('audited')} of {total('rounds')} |"
    yield f"| signatures in the guards' logs | {total('signatures')} |"
    yield f"| double signatures | {total('double_signatures')} |"
    yield f"| double closes | {total('double_closes')} |"
    yield f"| sites paid other than in the undisturbed run | {total('lost_rewards')} |"
    yield f"| broken promises | {len(broken(legs))} |"
    for words in broken(legs):
        yield ""
        yield f"**{words}**"


def _recovery(setting: Setting, legs: Sequence[Leg], outcomes: Sequence[Outcome]) -> Iterator[str]:
    if not outcomes:
        return
    calm = [seconds for leg in legs for seconds in leg.course.calm_rounds]
    usual = median(calm)
    yield (
        f"An undisturbed round took {usual:.2f} s here (median of {len(calm)}; longest "
        f"{max(calm):.2f} s). Recovery is the time from the death, or the beginning of the "
        "trouble, to the next closed round. Its cost is how much longer the rounds took in which "
        "it happened than as many undisturbed ones, and belongs to all who died in them."
    )
    yield ""
    yield "| what | point | times | died | recovery, median | longest | cost, median | highest |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    by_kind: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        # Which connection it was, or which byte, does not matter for the table.
        point = outcome.point if outcome.what.endswith(_WITH_POINTS) else ""
        by_kind[outcome.what, point].append(outcome)
    for (what, point), ones in sorted(by_kind.items()):
        times = [one.recovery_seconds for one in ones]
        costs = [one.cost_seconds(usual) for one in ones]
        deaths = sum(one.deaths for one in ones)
        yield (
            f"| {what} | {point} | {len(ones)} | {deaths} | {median(times):.2f} s "
            f"| {max(times):.2f} s | {median(costs):.2f} s | {max(costs):.2f} s |"
        )
    yield ""
    yield from _coordinators(setting, outcomes, calm)


def _coordinators(
    setting: Setting, outcomes: Sequence[Outcome], calm: Sequence[float]
) -> Iterator[str]:
    """What the death of a coordinator cost, against what it may cost."""
    usual, longest = median(calm), max(calm)
    restarted = [
        one.cost_seconds(usual) / one.deaths
        for one in outcomes
        if one.what.startswith(_RESTARTED) and one.deaths
    ]
    replaced = [one.cost_seconds(usual) for one in outcomes if "took over" in one.what]
    if restarted:
        yield (
            f"**A coordinator that is restarted** cost {median(restarted):.2f} s for each of "
            f"{len(restarted)} deaths (median; highest {max(restarted):.2f} s). "
            f"{_more_than(restarted, longest)} more than the longest undisturbed round, "
            f"{longest:.2f} s: it begins the open round again, and sites that had answered give "
            "the same answer again without training."
        )
        yield ""
    if replaced:
        bound = setting.round_seconds + setting.grace_seconds
        yield (
            f"**A coordinator that is lost**, with a standby, cost {median(replaced):.2f} s "
            f"(median of {len(replaced)}; highest {max(replaced):.2f} s). "
            f"{_more_than(replaced, bound + longest)} more than {bound + longest:.2f} s: the "
            f"grace, {setting.grace_seconds} s, and one round, whose time is over after "
            f"{setting.round_seconds} s and which the standby then runs in at most {longest:.2f} s."
        )


def _more_than(costs: Sequence[float], bound: float) -> str:
    count = sum(cost > bound for cost in costs)
    return f"{count or 'None'} of them cost" if count != 1 else "1 of them cost"
