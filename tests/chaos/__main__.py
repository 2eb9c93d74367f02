"""``python -m tests.chaos``: kill the processes of a network and see that nothing is lost."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from wardround.command_line import run
from wardround.protocol.errors import ScenarioError

app = typer.Typer(
    name="python -m tests.chaos",
    help="Kill the processes of a network, or watch them for long, and see that nothing is lost.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
_out = Console(highlight=False, soft_wrap=True)

_FAST = (
    "Messages travel over sockets of ours instead of Flower's SuperLink, and processes are forked "
    "from one that has loaded its modules: a restart takes milliseconds instead of seconds. A "
    "round is mostly training."
)
_FLOWER = (
    "All of it as `wardround network up` runs it: Flower's SuperLink behind its door, SuperNodes "
    "over TLS, every process a fresh interpreter that is started again after a pause. "
    "A cost is of two rounds here, that of the death and the next: a ServerApp, say, outlives what "
    "started it by seconds, and closes the round."
)


def _start(out: Path) -> None:
    if out.exists():
        raise ScenarioError(str(out), "it is there already: name a new folder with --out")
    # As Ctrl-C does: processes and mounted disks are let go of.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@app.command()
def kill(
    kills: Annotated[int, typer.Option(min=1, max=10_000, help="How many processes die.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the victims and the moments.")] = 1,
    engine: Annotated[
        Literal["fast", "flower"],
        typer.Option(help="fast: sockets of ours. flower: SuperLink, SuperNodes, TLS; slow."),
    ] = "fast",
    confirmations: Annotated[
        int, typer.Option(min=0, max=64, help="Blocks that everybody waits for. Of the fast one.")
    ] = 0,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10**6,
            help="Of a site's training: how long rounds are. [default: 300; flower: 1]",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="A new folder: studies, logs, report.")] = Path(
        "runs/chaos"
    ),
) -> None:
    """Kill the processes of a study again and again, and check that nothing is lost.

    Coordinators, sites, guards and chain are processes of their own on this machine; they die at
    random and just before and after every durable step, connections are cut, the closing block is
    reorganised away, the disk is full for a while. Then models, signatures, rewards and the audit
    are compared with an undisturbed run, and the report is written to OUT/report.md.

    Examples:
      python -m tests.chaos kill --kills 20 --seed 7

      python -m tests.chaos kill --kills 20 --confirmations 3

      python -m tests.chaos kill --engine flower --kills 10

      python -m tests.chaos kill --engine flower --kills 5 --epochs 10000
    """
    # PyTorch and Flower take seconds to import, and only this command needs them here.
    from tests.chaos import live
    from tests.chaos.play import GRACE_SECONDS, LOCAL_EPOCHS, ROUND_SECONDS, SITES, STANDBYS, play
    from tests.chaos.report import Leg, Setting, broken, report
    from tests.chaos.report import kills as count

    if engine == "flower" and confirmations:
        raise typer.BadParameter("only the fast engine's blocks come by themselves")
    _start(out)
    more = "" if engine == "fast" else f" --engine {engine}"
    more += f" --confirmations {confirmations}" if confirmations else ""
    more += f" --epochs {epochs}" if epochs is not None else ""
    setting = Setting(
        command=f"python -m tests.chaos kill --kills {kills} --seed {seed}{more}",
        engine=_FAST if engine == "fast" else _FLOWER,
        seed=seed,
        sites=SITES if engine == "fast" else live.SITES,
        standbys=STANDBYS if engine == "fast" else live.STANDBYS,
        round_seconds=ROUND_SECONDS if engine == "fast" else live.ROUND_SECONDS,
        grace_seconds=GRACE_SECONDS if engine == "fast" else live.GRACE_SECONDS,
    )

    def say(words: str) -> None:
        _out.print(words, markup=False)

    legs: list[Leg] = []
    if engine == "flower":
        played = iter([live.play_live(out, kills, seed, say, epochs or live.LOCAL_EPOCHS)])
    else:
        played = play(
            out, kills, seed, say, epochs=epochs or LOCAL_EPOCHS, confirmations=confirmations
        )
    for leg in played:
        legs.append(leg)
        (out / "report.md").write_text(report(setting, legs), encoding="utf-8")
    _out.print(report(setting, legs), markup=False)
    if faults := broken(legs):
        _out.print(f"{count(legs)} kills, and {len(faults)} broken promises.")
        raise typer.Exit(1)
    _out.print(f"{count(legs)} kills, and nothing is lost. The report is {out / 'report.md'}.")


@app.command()
def soak(
    hours: Annotated[float, typer.Option(min=0.05, max=1000, help="How long.")] = 2.0,
    out: Annotated[Path, typer.Option(help="A new folder: network, samples.csv.")] = Path(
        "runs/soak"
    ),
) -> None:
    """Run a network of processes for hours: what do its processes and folders gain?

    Memory, disk, open files and threads are seen every minute; a line is fitted to each once a
    quarter of the time has passed. It fails where 48 hours of that would matter to a machine, but
    not for anvil, which keeps every block in memory.

    Examples:
      python -m tests.chaos soak --hours 2

      python -m tests.chaos soak --hours 0.2 --out runs/short
    """
    from tests.chaos.soak import DEVELOPMENT_CHAIN, run_soak, slopes, slopes_table

    _start(out)
    samples = run_soak(out, hours, _out.print)
    found = slopes(samples)
    _out.print(slopes_table(found), markup=False)
    _out.print(f"{samples[-1].rounds} rounds in {hours:g} hours.")
    ours = [row for row in found if row.what != DEVELOPMENT_CHAIN]
    if grown := [f"{row.what} ({row.kind})" for row in ours if row.matters]:
        _out.print(f"In 48 hours these would matter: {', '.join(grown)}.")
        raise typer.Exit(1)
    _out.print("Nothing gains what would matter in 48 hours.")


if __name__ == "__main__":
    run(app)
