"""``wardround leak``: known attacks on a run of one's own, and what each of them rebuilt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table as Grid

from wardround.audit.finished import open_run
from wardround.host.screen import Screen

if TYPE_CHECKING:
    from wardround.leak.outcome import AttackOutcome
    from wardround.leak.reading import Role

_out = Screen(highlight=False, soft_wrap=True)
_err = Screen(stderr=True, highlight=False)


def leak(
    run: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.")],
    role: Annotated[
        str,
        typer.Option(
            "--as",
            help="reader: chain and store, which everybody has; coordinator: also the measures "
            "that sites sent it.",
        ),
    ] = "reader",
    tables: Annotated[
        Path | None,
        typer.Option(
            help="Folder with NAME/train.npz and NAME/test.npz of the sites, to judge by; by "
            "default the run's own, where it is a simulation."
        ),
    ] = None,
    reading_key: Annotated[
        Path | None,
        typer.Option(help="For a run with an encrypted store: a key that has a grant."),
    ] = None,
    auc: Annotated[
        float,
        typer.Option(help="Membership is a finding from this area on, 0.5 to 1."),
    ] = 0.75,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object an attack.")] = False,
) -> None:
    """Try known attacks on what a run published; end with 1 if one finds a row or a member.

    It ends with 2 if nothing could be judged, because no attack applies or no table is there.

    It has the specification, the models, the updates, the reports and the sites' names. The sites'
    tables serve to judge what was rebuilt, and as candidates for membership; keys, passwords and a
    simulation's key are never opened. That it finds nothing is no proof that nothing can be found.

    Examples:
      wardround leak runs/four-hospitals

      wardround leak runs/four-hospitals --as coordinator

      wardround leak runs/live --tables ~/tables --json
    """
    if not 0.5 <= auc <= 1:  # NaN too, which Typer's min and max let through
        raise typer.BadParameter(f"--auc {auc:g}: give an area from 0.5 to 1")
    found: list[AttackOutcome] = []
    for finding in _findings(run, _role(role), tables, reading_key, auc, as_json):
        found.append(finding)
        if as_json:
            print(json.dumps(asdict(finding)), flush=True)
    if not as_json:
        _print(found)
    if any(one.leak for one in found):
        raise typer.Exit(1)
    if not any(one.is_judged for one in found):
        raise typer.Exit(2)


def _role(text: str) -> Role:
    if text == "reader":
        return "reader"
    if text == "coordinator":
        return "coordinator"
    raise typer.BadParameter(f"--as {text!r}: choose reader or coordinator")


def _findings(
    run: Path,
    role: Role,
    tables: Path | None,
    reading_key: Path | None,
    auc: float,
    quiet: bool,
) -> Iterator[AttackOutcome]:
    # PyTorch and scikit-learn take seconds to import, and only this command needs them.
    from wardround.leak.attacks import attack
    from wardround.leak.outcome import read_truth
    from wardround.leak.reading import read_run

    with _progress(quiet) as on_step:
        on_step("opening the run")
        with open_run(run, reading=reading_key) as opened:
            on_step("reading chain and store")
            reading = read_run(opened, role)
            folder, model = tables or opened.folders.sites, reading.spec.model
            truths = {name: read_truth(folder / name, model) for name in reading.sites}
            if tables is not None and not any(one.is_there for one in truths.values()):
                reason = "no site's table is there, NAME/train.npz or NAME/test.npz"
                raise typer.BadParameter(f"--tables {tables}: {reason}")
        yield from attack(reading, truths, least_auc=auc, on_step=on_step)


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show progress on standard error, so that standard output holds results alone."""
    if quiet:
        yield lambda words: None
    elif _err.is_terminal:
        with _err.status("beginning") as status:
            yield lambda words: status.update(words)
    else:
        seen: set[str] = set()

        def once(words: str) -> None:
            if words not in seen:
                seen.add(words)
                _err.print(f"… {words}")

        yield once


def _print(found: list[AttackOutcome]) -> None:
    grid = Grid(header_style="bold", box=None, pad_edge=False)
    for heading in ("site", "attack", "rows rebuilt", "median error", "AUC", ""):
        grid.add_column(heading, justify="left" if heading in ("site", "attack") else "right")
    for one in found:
        if one.tried:
            rows = "–" if one.rebuilt is None else f"{one.rebuilt} of {one.rows}"
            error = "–" if one.error is None else f"{one.error:.1e}"
            area = "–" if one.auc is None else f"{one.auc:.3f}"
            grid.add_row(one.site, one.attack, rows, error, area, "LEAK" if one.leak else "")
    _out.print(grid)
    _out.print()
    for attack in dict.fromkeys(one.attack for one in found):
        _out.print(attack, style="bold")
        for one in found:
            if one.attack == attack:
                style = "red" if one.leak else None
                _out.show(f"  {one.site}: {one.words}.", style=style)
    _out.print()
    leaks = [one for one in found if one.leak]
    if leaks:
        named = ", ".join(f"{one.attack} at {one.site}" for one in leaks)
        _out.show(f"Found: {named}.", style="bold red")
    judged = {one.site for one in found if one.is_judged}
    if judged and not leaks:
        _out.print("No row was rebuilt, and no member told from others.", style="bold green")
    elif not leaks:
        _out.print("Nothing could be judged.", style="bold yellow")
    if unjudged := [
        site for site in dict.fromkeys(one.site for one in found) if site not in judged
    ]:
        words = f"Not judged, with the tables that are here: {', '.join(unjudged)}."
        _out.show(words, style="bold yellow")
