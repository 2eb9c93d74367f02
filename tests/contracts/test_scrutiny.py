"""What the two tools that look at the contracts find is held against what is written down."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from contracts import prove, slither

FOUND = {
    "success": True,
    "results": {
        "detectors": [
            {
                "check": "timestamp",
                "description": "WardRound.takeOver(StudyId) uses timestamp\n\tDangerous\n",
                "elements": [
                    {
                        "type": "function",
                        "name": "takeOver",
                        "type_specific_fields": {
                            "parent": {
                                "type": "contract",
                                "name": "WardRound",
                                "type_specific_fields": {"parent": {"type": "file", "name": "x"}},
                            }
                        },
                    }
                ],
            }
        ]
    },
}


def program(folder: Path, writes: str, option: str) -> Path:
    """A program that writes a report to `option`, and fails as Slither does on findings."""
    path = folder / "tool"
    path.write_text(
        "#!/usr/bin/env python3\nimport sys\n"
        f"open(sys.argv[sys.argv.index({option!r}) + 1], 'w').write({writes!r})\nsys.exit(255)\n"
    )
    os.chmod(path, 0o755)  # noqa: PTH101 - the path is a program's
    return path


@pytest.fixture
def explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of contracts/, with nothing but a forge and no sources."""
    monkeypatch.setattr("contracts.slither.HERE", tmp_path)
    monkeypatch.setattr("contracts.scratch.HERE", tmp_path)
    (tmp_path / "src").mkdir()
    for name in ("foundry.toml", "solc"):
        (tmp_path / name).touch()
    forge = tmp_path / "node_modules" / "@foundry-rs" / "forge-some" / "bin" / "forge"
    forge.parent.mkdir(parents=True)
    forge.touch()
    return tmp_path / "slither.toml"


ENTRY = '[[explained]]\ndetector = "{}"\nplaces = ["{}"]\nwhy = "{}"\n'


def run_slither(explained: Path, *entries: str, report: dict[str, Any] | None = None) -> int:
    explained.write_text("explained = []" if not entries else "\n".join(entries))
    found = json.dumps(FOUND if report is None else report)
    return slither.main([str(program(explained.parent, found, "--json"))])


def test_slither_when_all_is_explained(explained: Path) -> None:
    assert run_slither(explained, ENTRY.format("timestamp", "WardRound.*", "minutes")) == 0


def test_slither_when_a_finding_is_not_explained(
    explained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_slither(explained) == 1
    assert "timestamp at WardRound.takeOver: mend it" in capsys.readouterr().out


@pytest.mark.parametrize(("detector", "place"), [("reentrancy", "*"), ("timestamp", "Court.*")])
def test_slither_when_an_explanation_is_of_something_else(
    explained: Path, detector: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    right = ENTRY.format("timestamp", "WardRound.takeOver", "minutes")
    assert run_slither(explained, right, ENTRY.format(detector, place, "because")) == 1
    assert "take it out" in capsys.readouterr().out


def test_slither_when_a_reason_is_missing(explained: Path) -> None:
    with pytest.raises(SystemExit, match="no reason for timestamp"):
        run_slither(explained, ENTRY.format("timestamp", "WardRound.takeOver", " "))


def test_slither_when_it_did_not_look(explained: Path) -> None:
    with pytest.raises(SystemExit, match="did not finish"):
        run_slither(explained, report={"success": False})


@pytest.mark.parametrize(
    ("test", "status"),
    [
        ({"name": "check_a(uint256)", "exitcode": 0, "num_bounded_loops": 0}, 0),
        ({"name": "check_a(uint256)", "exitcode": 0, "num_bounded_loops": 1}, -1),
        ({"name": "check_a(uint256)", "exitcode": 2, "num_bounded_loops": 0}, 2),
        ({"name": "check_a(uint256)", "exitcode": 1, "num_bounded_loops": None}, 1),
    ],
)
def test_a_proof_that_cut_a_loop_short_is_none(test: dict[str, Any], status: int) -> None:
    assert prove.ends([test]) == [("check_a", status)]


@pytest.mark.parametrize("listed", ["halmos.toml", "broken.toml"])
def test_changing_the_contracts_changes_what_the_proofs_are_about(
    tmp_path: Path, listed: str
) -> None:
    shutil.copytree(prove.HERE / "src", tmp_path / "src")
    prove.change_contracts(tmp_path, listed)
    changed = [
        path
        for path in (tmp_path / "src").rglob("*.sol")
        if path.read_bytes() != (prove.HERE / path.relative_to(tmp_path)).read_bytes()
    ]
    assert changed
    with pytest.raises(SystemExit, match="must hold this once"):
        prove.change_contracts(tmp_path, listed)
