"""Every benchmark runs at toy size and prints its ratios, whose values are not checked here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import NAMES, main
from benchmarks.figure import Figure, Target, medians_of
from benchmarks.stopwatch import Stopwatch
from wardround.protocol import merkle, settlement

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks", "--quick", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(output: str, name: str) -> None:
    document = json.loads(output)
    assert document["quick"] is True
    assert document["machine"]["copy_GB_per_s"] > 0
    figures = document["benchmarks"][name]["figures"]
    assert all(figure["ours"] > 0 for figure in figures)
    assert all(figure["ratio"] is None or figure["ratio"] > 0 for figure in figures)
    assert any(figure["ratio"] is not None for figure in figures) or name == "gas"


@pytest.mark.deep
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("engine", "deployed")])
def test_benchmark_gives_figures_when_quick(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json", name]) == 0
    check(capsys.readouterr().out, name)


@pytest.mark.deep
def test_engine_benchmark_gives_figures_when_quick() -> None:
    # In a process of its own: Ray leaves things behind.
    check(run("--json", "engine"), "engine")


@pytest.mark.deep
@pytest.mark.timeout(1200)
def test_benchmark_of_processes_gives_figures_when_quick(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--quick", "--json", "deployed"]) == 0
    check(capsys.readouterr().out, "deployed")


def test_table_names_both_sides_and_the_ratio() -> None:
    output = run("root")
    for word in ("plain SHA-256", "ours / peer", ">= 0.3", "GB/s", "copy"):
        assert word in output


def test_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["speed"])
    assert stopped.value.code == 2
    assert "no benchmark is called 'speed'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("figure", "ratio", "met"),
    [
        (Figure("a", 3.0, "s", peer=2.0, target=Target(1.5, at_most=True)), 1.5, True),
        (Figure("a", 3.1, "s", peer=2.0, target=Target(1.5, at_most=True)), 1.55, False),
        (Figure("a", 2.0, "s", peer=3.0, inverse=True, target=Target(2, False)), 1.5, False),
        (Figure("a", 2.0, "s", peer=9.0, target=Target(2, False), absolute=True), 2 / 9, True),
        (Figure("a", 2.0, "s"), None, None),
    ],
)
def test_target_is_judged(figure: Figure, ratio: float | None, met: bool | None) -> None:
    assert (figure.ratio, figure.met) == (ratio, met)


def test_medians_are_taken_by_turns() -> None:
    first, second = iter([3.0, 1.0, 2.0]), iter([30.0, 50.0, 10.0])
    assert medians_of(3, lambda: next(first), lambda: next(second)) == [2.0, 30.0]


def test_stopwatch_counts_inner_parts_once_and_puts_functions_back() -> None:
    original = merkle.vector_root
    watch = Stopwatch()
    parts = {
        "whole": ["wardround.protocol.settlement:Vector.ref"],
        "roots": ["wardround.protocol.merkle:vector_root"],
    }
    with watch.watching(parts):
        assert settlement.vector_root is not original
        settlement.vector_root(bytes(4096))
    assert settlement.vector_root is merkle.vector_root is original
    assert watch.seconds["roots"] > 0
    assert watch.seconds["whole"] == 0
