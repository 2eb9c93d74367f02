"""``wardround cheating``: every cheat of every party, what catches it, and who pays."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from wardround.chain.chain import Chain
from wardround.devchain.errors import AnvilMissing
from wardround.host.screen import Screen
from wardround_simulations.outcomes import Outcome, Role
from wardround_simulations.screen import TOKEN

if TYPE_CHECKING:
    from wardround_simulations.stage import Parties

_out = Screen(highlight=False, markup=False)
_err = Screen(stderr=True, highlight=False, markup=False)
_TABLE_WIDTH = 100
#: What outcomes that share a line have in common.
_ALIKE = ("tried", "caught_by", "slashed", "forfeited", "good")


def cheating(
    chain: Annotated[
        Literal["anvil", "embedded"] | None,
        typer.Option(help="anvil, or embedded; by default anvil where it is installed."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Let every party try every cheat, and see what catches it and what it costs.

    Coordinators, sites, sponsors, auditors and challengers cheat on a chain of their own. Where a
    round is false, an auditor that has the chain and the content store alone proves it, and the
    standby closes the round again. Ends with 0 only if every cheat is caught as it should be, no
    honest round is overturned, and every study ends with the model that honest coordinators give
    it and all money where it belongs.

    Examples:
      wardround cheating

      wardround cheating --chain embedded --json
    """
    # PyTorch takes seconds to import, and only this command needs it.
    from wardround_simulations.cheating import Trials
    from wardround_simulations.stage import Parties

    started, parties, outcomes = time.monotonic(), Parties.new(), []
    with (
        TemporaryDirectory(prefix="wardround-cheating-") as folder,
        _development_chain(chain, parties) as (opened, kind),
        _err.status(f"{kind}: preparing") as status,
    ):
        trials = Trials(opened, parties, Path(folder))
        for outcome in trials.run():
            outcomes.append(outcome)
            status.update(f"{kind}: {len(outcomes)} of {trials.count}: {outcome.tried}")
            if as_json:
                print(json.dumps(outcome.document()), flush=True)
    bad = [outcome for outcome in outcomes if not outcome.good]
    if not as_json:
        # On a narrow screen lines wrap; cut words would mean nothing. A console never prints wider
        # than it is, whatever width it is asked for, so this is another one.
        wide = Screen(highlight=False, markup=False, width=max(_out.width, _TABLE_WIDTH))
        wide.print(outcomes_table(outcomes))
        seconds = time.monotonic() - started
        for outcome in bad:
            expected = outcome.expected or "nothing"
            _out.print(
                f"{outcome.tried} ({outcome.recording}): expected {expected}; {outcome.words}",
                style="red",
            )
        caught = sum(outcome.slashed > 0 for outcome in outcomes)
        _out.print(
            f"{len(outcomes)} trials on {kind} in {seconds:.0f} s: {caught} bonds slashed, "
            f"{len(bad)} not as it should be."
        )
    if bad:
        raise typer.Exit(1)


def outcomes_table(outcomes: list[Outcome]) -> Table:
    """Lay outcomes out by who cheats; those that differ by recording alone share a line.

    Args:
        outcomes: in the order of the trials, at least one.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("who tries what", "caught by", "gas", "pays with", "end"):
        table.add_column(name, justify="right" if name == "gas" else "left", no_wrap=True)
    for role in Role:
        rows = [one for one in outcomes if one.role is role]
        if rows:
            table.add_section()
            table.add_row(role.value, style="bold")
        for _, same in groupby(rows, lambda one: [getattr(one, name) for name in _ALIKE]):
            group = list(same)
            first, gas = group[0], max(one.gas for one in group)
            alone = "" if len(group) > 1 else f" ({first.recording})"
            lost = (first.slashed or first.forfeited) / TOKEN
            table.add_row(
                f"  {first.tried}{alone}",
                first.caught_by or "–",
                f"{gas:,}" if gas else "–",
                f"{first.paid_with} {lost:g}" if lost else first.paid_with or "–",
                "right" if first.good else "WRONG",
                style="" if first.good else "red",
            )
    return table


@contextmanager
def _development_chain(wanted: str | None, parties: Parties) -> Iterator[tuple[Chain, str]]:
    from wardround.devchain.anvil import Anvil
    from wardround.devchain.embedded import EmbeddedChain
    from wardround.devchain.evm import Genesis
    from wardround.devchain.faucet import DEV_CHAIN_ID, balances_of

    genesis = Genesis(DEV_CHAIN_ID, int(time.time()), balances_of(parties.addresses))
    anvil = None
    if wanted != "embedded":
        try:
            anvil = Anvil(genesis)
        except AnvilMissing:
            if wanted == "anvil":
                raise
    if anvil is not None:
        with anvil:
            yield anvil.chain, "anvil"
        return
    embedded = EmbeddedChain(f"cheating-{time.monotonic_ns()}", genesis)
    try:
        yield embedded, "embedded"
    finally:
        embedded.close()
