"""How far a long audit has come, on the standard error stream: findings alone are on the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from wardround.host.screen import Screen

#: Where nothing was heard for so long, a terminal shows a bar, and a log has a line.
BAR_SECONDS = 1.0
LINE_SECONDS = 10.0

Item = TypeVar("Item")


def with_progress(rounds: Iterable[Item], count: int, *, shown: bool) -> Iterator[Item]:
    """Pass rounds on, and show how many there were of how many.

    Args:
        rounds: as they are done.
        count: how many there will be.
        shown: whether to show anything.
    """
    screen = Screen(stderr=True, highlight=False, soft_wrap=True)
    if not shown:
        yield from rounds
    elif screen.is_terminal:
        yield from _with_bar(rounds, count, screen)
    else:
        yield from _with_lines(rounds, count, screen)


def _with_lines(rounds: Iterable[Item], count: int, screen: Screen) -> Iterator[Item]:
    last = monotonic()
    for done, item in enumerate(rounds, 1):
        if monotonic() - last >= LINE_SECONDS:
            last = monotonic()
            screen.print(f"round {done} of {count}")
        yield item


def _with_bar(rounds: Iterable[Item], count: int, screen: Screen) -> Iterator[Item]:
    started = monotonic()
    # Drawn by this thread while a round is waited for, and gone while it is printed: a second
    # thread would draw between the lines of the other stream, and forbid a fork.
    bar = Progress(
        TextColumn("rounds"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=screen,
        transient=True,
        auto_refresh=False,
    )
    task, left = bar.add_task("rounds", total=count), iter(rounds)
    while True:
        is_long = monotonic() - started >= BAR_SECONDS
        if is_long:
            bar.start()
            bar.refresh()
        try:
            item = next(left)
        except StopIteration:
            return
        finally:
            if is_long:
                bar.stop()
        bar.advance(task)
        yield item
