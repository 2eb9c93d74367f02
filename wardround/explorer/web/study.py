"""The page of a study."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median, pstdev
from typing import Any

from pydantic.alias_generators import to_camel

from wardround.chain.amounts import tokens_of
from wardround.explorer.events import EventFilter, list_events
from wardround.explorer.rows import ChartRow, Funds, RoundRow, StudyDetail
from wardround.explorer.studies import (
    count_everything,
    list_studies,
    read_study,
    sampled_series,
    valid_rounds,
)
from wardround.explorer.web.charts import Series, line_chart
from wardround.explorer.web.explorer import Explorer, NamedSite
from wardround.explorer.web.words import PARAMETERS, parameter
from wardround.protocol.identifiers import bytes32
from wardround.protocol.record import StudyParams

_STUDIES = 50
_CELLS = 200
_LINEAGE = 25
_EVENTS = 12
#: With more sites than this a chart has the worst, the middle and the best instead of each.
_LINES_MAX = 12


def overview_page(explorer: Explorer) -> bytes:
    """All studies, the live feed, the state of the index."""
    reader = explorer.reader
    with reader.look():
        return explorer.page(
            "overview.html",
            page="overview",
            totals=count_everything(reader),
            studies=list_studies(reader, limit=_STUDIES).rows,
            events=list_events(reader, limit=25).rows,
            reorganisations=reader.reorganisations(10),
        )


def study_page(explorer: Explorer, study: str) -> bytes:
    """One study.

    Raises:
        NotIndexed: it is not in the index.
    """
    reader = explorer.reader
    with reader.look():
        found = read_study(reader, study)
        lineage = valid_rounds(reader, study, _LINEAGE)
        params, decimals = params_of(found.params), found.summary.decimals
        names = reader.names()
        sites = explorer.sites([one.site for one in found.members], names)
        sampled = sampled_series(reader, study, len(found.members))
        cells = _cells(found, lineage)
        return explorer.page(
            "study.html",
            study=found,
            summary=found.summary,
            params=params,
            alerts=_alerts(found, params, lineage),
            sites=sites,
            members=sorted(found.members, key=lambda one: sites[one.site].colour or 0),
            money=Money.of(found.summary.funds, sum(int(one.earned or 0) for one in found.members)),
            cells=cells,
            cells_left=found.summary.rounds - len(cells),
            charts=charts(sampled, list(sites.values()), decimals),
            figures=sampled,
            lineage=lineage,
            lineage_left=found.summary.closed - len(lineage),
            parameter_rows=[
                (title, parameter(name, getattr(params, name), decimals), meaning)
                for name, (title, meaning) in PARAMETERS.items()
            ],
            specification=_tables(found.specification.document, decimals),
            named=bool(names),
            events=list_events(reader, EventFilter(study=study), limit=_EVENTS).rows,
        )


def params_of(values: Mapping[str, Any]) -> StudyParams:
    """Read the parameters that the index keeps by the contract's names."""
    read = []
    for one in fields(StudyParams):
        value = values[to_camel(one.name)]
        if isinstance(value, str) and len(value) == 66:
            value = bytes32(value, one.name)
        elif isinstance(value, str) and not value.startswith("0x"):
            value = int(value)
        read.append(value)
    return StudyParams.from_abi(read)


@dataclass(frozen=True)
class Charts:
    """A study's charts, each empty where nothing is recorded, and the figures beside them."""

    accuracy: str
    fairness: str
    loss: str
    earned: str
    legend: Sequence[Series]
    last: ChartRow | None
    gap: float | None
    step: int


def charts(sampled: Sequence[ChartRow], sites: Sequence[NamedSite], decimals: int) -> Charts:
    """Draw what the rounds hold; amounts in tokens of so many decimals."""
    addresses = {one.address for one in sites}

    def by_site(name: str, scale: float = 1.0) -> list[Series]:
        rounds = {
            one.round: {
                site: scale * float(value)
                for site, value in getattr(one, name).items()
                if site in addresses
            }
            for one in sampled
        }
        if len(sites) <= _LINES_MAX:
            return [
                Series(
                    one.name or one.address[:10],
                    {
                        r: values[one.address]
                        for r, values in rounds.items()
                        if one.address in values
                    },
                    one.colour,
                )
                for one in sites
            ]
        ordered = {r: sorted(values.values()) for r, values in rounds.items() if values}
        return [
            Series("lowest site", {r: values[0] for r, values in ordered.items()}, 1),
            Series("middle site", {r: median(values) for r, values in ordered.items()}, 2),
            Series("highest site", {r: values[-1] for r, values in ordered.items()}, 0),
        ]

    earned = by_site("rewards", 10.0**-decimals)
    pooled = {one.round: 100 * one.pooled for one in sampled if one.pooled is not None}
    lines = [*by_site("accuracy", 100.0), Series("all rows", pooled, None)]
    spread = [one for one in sampled if len(one.accuracy) > 1]
    fairness = [
        Series("worst to best", {one.round: 100 * _gap(one) for one in spread}, 1),
        Series(
            "standard deviation",
            {one.round: 100 * pstdev(one.accuracy.values()) for one in spread},
            2,
        ),
    ]
    measured = [one for one in sampled if one.accuracy or one.pooled is not None]
    last = measured[-1] if measured else None
    return Charts(
        accuracy=line_chart("Accuracy by round, in percent, a line a site", lines, unit=" %"),
        fairness=line_chart(
            "Difference of accuracy between sites by round, in points", fairness, low=0
        ),
        loss=line_chart("Training loss by round, a line a site", by_site("loss")),
        earned=line_chart("Tokens earned by round, a line a site", earned, low=0),
        legend=[one for one in lines if one.values] or earned,
        last=last,
        gap=_gap(last) if last and len(last.accuracy) > 1 else None,
        step=sampled[1].round - sampled[0].round if len(sampled) > 1 else 1,
    )


def _gap(one: ChartRow) -> float:
    return max(one.accuracy.values()) - min(one.accuracy.values())


def _alerts(study: StudyDetail, params: StudyParams, recent: Sequence[RoundRow]) -> list[str]:
    """Contradictions between the index or the store and the record."""
    alerts = []
    if "0x" + params.study_id.hex() != study.summary.study:
        alerts.append("The parameters in the index do not hash to the study’s id.")
    if study.specification.status in ("altered", "contradicts", "malformed", "too_large"):
        alerts.append(f"The specification: {study.specification.reason}.")
    for one in recent:
        if one.manifest in ("altered", "contradicts", "malformed", "too_large"):
            alerts.append(f"Round {one.round}: its manifest in the store is {one.manifest}.")
    return alerts


@dataclass(frozen=True)
class Money:
    """Where a study's money is, in the token's smallest unit.

    ``total = paid + fees + returned + collected + remaining``.
    """

    funded: int
    bonds: int
    deposits: int
    paid: int
    fees: int
    returned: int
    collected: int
    remaining: int
    due: int
    slashed: int

    @classmethod
    def of(cls, funds: Funds, earned: int) -> Money:
        """Add up what the index has; `earned` is by rounds that stand."""
        return cls(
            funded=int(funds.funded),
            bonds=int(funds.bonds_posted),
            deposits=int(funds.deposits),
            paid=int(funds.paid),
            fees=int(funds.fees),
            returned=int(funds.refunded) + int(funds.bonds_released),
            collected=int(funds.collected),
            remaining=int(funds.remaining),
            due=max(0, earned - int(funds.paid)),
            slashed=int(funds.slashed),
        )

    @property
    def total(self) -> int:
        """All that came in."""
        return self.funded + self.bonds + self.deposits

    @property
    def slices(self) -> list[tuple[str, int, str]]:
        """The parts of the whole: each one's class, amount and words."""
        return [
            ("paid", self.paid, "paid to sites"),
            ("fees", self.fees, "fees"),
            ("back", self.returned, "returned"),
            ("collected", self.collected, "collected"),
            ("due", self.due, "earned, not yet paid"),
            ("left", self.remaining - self.due, "remaining"),
        ]

    def words(self, decimals: int) -> str:
        """The equation, in tokens."""

        def sum_of(*parts: tuple[int, str]) -> str:
            shown = [part for place, part in enumerate(parts) if part[0] or not place]
            return " + ".join(f"{tokens_of(amount, decimals)} {what}" for amount, what in shown)

        into = sum_of((self.funded, "funded"), (self.bonds, "bonds"), (self.deposits, "deposits"))
        out = sum_of(
            (self.paid, "paid"),
            (self.fees, "fees"),
            (self.returned, "returned"),
            (self.collected, "collected"),
        )
        return f"{into} = {out} + {tokens_of(self.remaining, decimals)} remaining"


def _cells(study: StudyDetail, standing: Sequence[RoundRow]) -> dict[int, str]:
    """States by round, for the strip of rounds."""
    states = {one.round: one.state for one in standing}
    # Rounds become final in order, so the ones before a final one are.
    older = states[min(states)] if states else "closed"
    head = study.summary.head
    if study.summary.state == "open":
        states[head] = "open"
    # The last ones that matter: up to a few behind the head.
    last = min(study.summary.rounds, max(_CELLS, head + 3))
    return {
        number: states.get(number, older if number < head else "waiting")
        for number in range(max(1, last - _CELLS + 1), last + 1)
    }


def _tables(
    document: Mapping[str, Any] | None, decimals: int
) -> list[tuple[str, list[tuple[str, str]]]]:
    if document is None:
        return []
    return [
        (name, [(key, _amount(key, value, decimals)) for key, value in table.items()])
        for name, table in document.items()
        if isinstance(table, Mapping)
    ]


#: Keys of a specification whose values are amounts.
_AMOUNTS = ("per_round", "bond", "deposit", "closing_fee", "attesting_fee")


def _amount(key: str, value: Any, decimals: int) -> str:
    """A value of the specification; amounts of the smallest unit also in tokens."""
    words = _plain(value)
    if key in _AMOUNTS and re.fullmatch("[0-9]{1,78}", words):
        return f"{words} ({tokens_of(int(words), decimals)} tokens)"
    return words


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
