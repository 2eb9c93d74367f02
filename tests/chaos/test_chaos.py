"""What a chaos run is made of: links that are cut, promises that are checked, the report."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.links import Link
from tests.chaos.live import VICTIMS
from tests.chaos.plan import Victim, named_kills
from tests.chaos.promises import Expected, Subject, Verdict, judge
from tests.chaos.report import Leg, Setting, broken, kills, report
from tests.chaos.run import Course, Outcome
from tests.chaos.soak import (
    Holding,
    Sample,
    footprint,
    read_samples,
    slopes,
    slopes_table,
    write_sample,
)
from tests.integration.networks import copied, finished_run
from wardround.audit.finished import open_run
from wardround.host.key_file import read_key
from wardround.host.steps import Step
from wardround.protocol.identifiers import address_of, hex_of
from wardround_client.guard.log import GuardLog, create_log

ROOT = Path(__file__).resolve().parents[2]

# ---------------------------------------------------------------- links


@pytest.fixture
def echo() -> Iterator[int]:
    """An echo server on a port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                while part := connection.recv(1000):
                    connection.sendall(part)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


@pytest.fixture
def link(echo: int) -> Iterator[Link]:
    made = Link(echo)
    yield made
    made.close()


def said_back(link: Link, words: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", link.port), 5) as connection:
        connection.settimeout(5)
        connection.sendall(words)
        return connection.recv(1000)


def test_link_passes_bytes_on_until_it_is_cut_and_after_it_is_mended(link: Link) -> None:
    assert said_back(link, b"one") == b"one"
    with socket.create_connection(("127.0.0.1", link.port), 5) as old:
        old.sendall(b"two")
        assert old.recv(10) == b"two"
        link.cut()
        # What was open ends, and what is opened ends at once.
        assert old.recv(10) == b""
        with suppress(ConnectionError):
            assert said_back(link, b"three") == b""
    link.mend()
    assert said_back(link, b"four") == b"four"


def test_link_when_slowed_down_holds_each_part_back(link: Link) -> None:
    link.delay_seconds = 0.2
    started = time.monotonic()
    assert said_back(link, b"slow") == b"slow"
    assert time.monotonic() - started >= 0.4


# ---------------------------------------------------------------- promises


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    base = tmp_path_factory.getbasetemp() / "chaos-finished"
    return copied(finished_run(base), tmp_path / "run")


def judged(run: Path, home: Path, expected: Expected | None = None) -> Verdict:
    with open_run(run, to_append=True) as opened:
        sites = {name: address_of(address) for name, address in opened.file.sites.items()}
        subject = Subject(
            opened.contract,
            opened.study,
            sites,
            read_key(run / "sponsor.key"),
            [home],
            str(opened.folders.store),
        )
        return judge(subject, expected or expected_of(run))


def expected_of(run: Path) -> Expected:
    with open_run(run) as opened:
        closings = opened.contract.closings(opened.study)
        names = {address: name for name, address in opened.file.sites.items()}
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    earned = summary["final"]["earned"]
    return Expected(
        tuple(hex_of(closing.record.model) for _, closing in closings),
        {names[address.lower()]: int(amount) for address, amount in earned.items()},
    )


def logged(home: Path, *updates: tuple[int, str]) -> Path:
    """A home whose guard has signed these updates."""
    home.mkdir()
    create_log(home / "guard.log", 1, site="0x" + 40 * "1")
    log = GuardLog(home / "guard.log", lambda: 2)
    for number, update in updates:
        log.append(
            "signed",
            study="0x",
            round=number,
            base="0xb",
            update=update,
            report_sha256="r",
            weight=1,
            update_bytes=4,
        )
    log.close()
    return home


def test_verdict_when_all_is_well_counts_and_breaks_nothing(run: Path, tmp_path: Path) -> None:
    verdict = judged(run, logged(tmp_path / "home", (1, "u"), (2, "v"), (3, "w")))
    assert verdict.broken == []
    assert (verdict.rounds, verdict.roots_equal, verdict.audited, verdict.signatures) == (
        3,
        3,
        3,
        3,
    )
    assert verdict.paid > 0


def test_verdict_when_a_site_signed_twice_says_so(run: Path, tmp_path: Path) -> None:
    verdict = judged(run, logged(tmp_path / "home", (1, "u"), (2, "v"), (2, "x")))
    assert verdict.double_signatures == 1
    assert verdict.broken == ["home signed different contributions for rounds [2]"]


def test_verdict_when_models_or_rewards_differ_says_so(run: Path, tmp_path: Path) -> None:
    right = expected_of(run)
    name = next(iter(right.earned))
    wrong = Expected(
        (*right.roots[:1], "0x00", *right.roots[2:]), {**right.earned, name: right.earned[name] + 1}
    )
    verdict = judged(run, logged(tmp_path / "home"), wrong)
    assert (verdict.roots_equal, verdict.lost_rewards) == (2, 1)
    assert "round 2 has another model" in verdict.broken


def test_verdict_when_an_object_is_lost_says_that_the_audit_fails(
    run: Path, tmp_path: Path
) -> None:
    expected = expected_of(run)
    # Some update: the manifests and the models are still there.
    victim = min((run / "store").iterdir(), key=lambda path: (path.stat().st_size != 28, path.name))
    shutil.move(victim, tmp_path / "lost")
    verdict = judged(run, logged(tmp_path / "home"), expected)
    assert any(words.startswith("the audit fails") for words in verdict.broken)


# ---------------------------------------------------------------- report


def test_report_states_kills_recovery_and_every_broken_promise() -> None:
    course = Course(
        [Outcome("guard killed", "", 1, 0.5), Outcome("guard killed", "", 1, 1.5)],
        ["disk full: it takes root"],
        [0.4],
        9,
    )
    leg = Leg(course, Verdict(rounds=9, roots_equal=8, broken=["round 3 has another model"]), 10.0)
    text = report(Setting("python -m tests.chaos kill", "Fast.", 1, 3, 1, 12, 4), [leg, leg])
    assert kills([leg, leg]) == 4
    assert "| guard killed |  | 4 | 4 | 1.00 s | 1.50 s |" in text
    assert "16 of 18" in text
    assert broken([leg, leg])[1] == "study 2: round 3 has another model"
    assert "**study 2: round 3 has another model**" in text
    assert "Left out: disk full: it takes root." in text


# ---------------------------------------------------------------- soak


def test_footprint_sees_files_that_are_left_open(tmp_path: Path) -> None:
    before = footprint(os.getpid())
    files = [(tmp_path / str(number)).open("w") for number in range(9)]
    after = footprint(os.getpid())
    for file in files:
        file.close()
    assert after.files == before.files + 9
    assert before.memory > 2**20


def soaked(minutes: int, hourly: int) -> list[Sample]:
    """A guard that fills its caches for ten minutes, and then gains so much memory an hour."""

    def memory(minute: int) -> int:
        return (100 << 20) + min(minute, 10) * (20 << 20) + hourly * max(0, minute - 10) // 60

    steady = Holding(memory=50 << 20, files=7, threads=2)
    return [
        Sample(60.0 * minute, minute, {"guard": Holding(memory=memory(minute)), "door": steady})
        for minute in range(minutes)
    ]


def test_slopes_leave_out_caches_that_fill() -> None:
    assert not any(row.matters for row in slopes(soaked(120, hourly=0)))


def test_slopes_of_what_a_machine_would_notice_in_two_days() -> None:
    found = slopes(soaked(120, hourly=20 << 20))
    grown = [(row.what, row.kind) for row in found if row.matters]
    assert grown == [("guard", "memory")]
    (row,) = [row for row in found if row.matters]
    assert row.in_two_days == pytest.approx(960 << 20, rel=0.01)
    assert "| guard | memory, MiB | 306.7 | 336.3 | +20.0 | +960.0 **!** |" in slopes_table(found)


def test_samples_of_a_soak_are_read_back(tmp_path: Path) -> None:
    samples = soaked(5, hourly=1 << 20)
    for sample in samples:
        write_sample(tmp_path / "samples.csv", sample)
    assert read_samples(tmp_path / "samples.csv") == samples


def test_docs_list_the_durable_steps_that_there_are() -> None:
    page = (ROOT / "docs" / "chaos.md").read_text("utf-8")
    rows = re.findall(r"^\| ([a-z ]+) \| (`.+`) \|$", page, re.MULTILINE)
    listed = [(who, step) for who, steps in rows for step in re.findall(r"`(\w+)`", steps)]
    # It is the standby that takes over where a coordinator is lost.
    names = {Victim.LOST: str(Victim.STANDBY)}
    taken = [(names.get(one.victim, str(one.victim)), one.point) for one in named_kills()]
    assert sorted(listed) == sorted({(who, str(point.step)) for who, point in taken if point})
    assert [step for _, step in listed] == [str(step) for step in Step]


def test_report_of_the_docs_says_which_of_its_steps_are_gone() -> None:
    report = (ROOT / "docs" / "chaos-report.md").read_text("utf-8")
    note = report.split("`python -m tests.chaos")[0]
    shown = set(re.findall(r"^\| .+ \| (?:before|after) (\w+) \|", report, re.MULTILINE))
    gone = shown - {str(step) for step in Step}
    assert {step for step in gone if f"`{step}` is gone" in note} == gone
    died = set(re.findall(r"^\| (.+?)(?: killed)? \|  \| [1-9]", report, re.MULTILINE))
    assert set(VICTIMS) <= died
