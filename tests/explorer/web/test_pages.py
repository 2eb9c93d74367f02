"""Every page of a finished run, as a reader without a script sees it."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sqlite3
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.explorer.conftest import ROUNDS
from tests.explorer.serving import served
from tests.explorer.web.conftest import explored
from wardround.explorer.web.app import create_app
from wardround.explorer.web.explorer import Explorer
from wardround.explorer.web.security import CONTENT_SECURITY_POLICY
from wardround.explorer.web.words import reason, short

SITES = 4


class Seen(HTMLParser):
    """What a page links to, and what a strict policy would refuse."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.refused: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self._script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self._script = tag == "script"
        if tag == "style" or (tag == "script" and "src" not in given):
            self.refused.append(f"<{tag}>")
        self.refused += [name for name in given if name == "style" or name.startswith("on")]
        self.ids += [value for name, value in attrs if name == "id" and value]
        for name in ("href", "src"):
            value = given.get(name)
            if value and not value.startswith("#"):
                self.links.add(value)


def test_every_link_leads_somewhere_and_no_page_breaks_its_policy(client: httpx.Client) -> None:
    waiting, done = ["/"], set()
    kinds: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in done:
            continue
        done.add(path)
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        kinds.add(path.split("/")[1].split("?")[0])
        seen = Seen(answer.text)
        assert seen.refused == [], path
        assert len(seen.ids) == len(set(seen.ids)), path
        assert seen.tags.count("h1") == 1, path
        assert seen.tags.count("main") == 1, path
        assert seen.tags.count("table") == seen.tags.count("caption"), path
        for link in seen.links:
            assert link.startswith("/"), f"{path} leads away, to {link}"
            waiting.append(unescape(link))
    assert kinds == {"", "study", "site", "events", "block", "transaction", "object"}


def test_round_shows_who_did_what(client: httpx.Client, study: str) -> None:
    text = client.get(f"/study/{study}/round/2").text
    for words in ("site-1", "site-4", "by contract and here", f"{SITES} of {SITES} members"):
        assert words in text
    assert "No attestation of round 2 or a later one; indexed blocks 0 to " in text
    assert "Something recorded does not hold" not in text


def test_evidence_of_a_round_can_be_taken_away(
    client: httpx.Client, study: str, tmp_path: Path
) -> None:
    answer = client.get(f"/study/{study}/round/2/evidence.zip")
    assert answer.headers["content-type"] == "application/zip"
    path = tmp_path / "evidence.zip"
    path.write_bytes(answer.content)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert "abi/WardRound.json" in archive.namelist()
    assert client.get(f"/study/{study}/round/9/evidence.zip").status_code == 404


def test_study_says_where_figures_come_from(client: httpx.Client, study: str) -> None:
    text = client.get(f"/study/{study}").text
    assert "neither signed nor on chain" in text
    assert text.count('<svg class="chart"') == 4
    assert "1,000" not in text.split("Funds")[1].split("Paid to sites")[0] or ROUNDS == 10
    assert re.search(r"300 funded \+ 10 bonds = 0 paid \+ 310 remaining", text)


def test_figures_of_counts_with_noise_are_shown_with_their_interval(
    copied_run: Path, study: str, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(copied_run, tmp_path / "run"))
    rounds = folder / "rounds.jsonl"
    lines = [json.loads(line) for line in rounds.read_text("utf-8").splitlines()]
    for line in lines:
        del line["accuracy"]["site-2"]
        line["accuracy"]["site-1"], line["pooled_accuracy"] = 0.8125, 0.75
        line["accuracy_interval"] = {"site-1": [0.625, 0.9375], "site-3": [0.9, 0.1]}
        line["pooled_accuracy_interval"] = [0.6875, 0.7625]
    rounds.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    with explored(folder, tmp_path / "index.sqlite") as noisy, served(create_app(noisy)) as where:
        text = httpx.get(f"{where}/study/{study}/round/2", timeout=30).text
        whole = httpx.get(f"{where}/study/{study}", timeout=30).text
    assert "81.2 % <span" in text
    assert text.count("62.5 to 93.8 %") == 1
    assert text.count(">not measured<") == 1
    assert "in 95 of 100 cases" in text
    assert "75.0 %<small>68.8 to 76.2 %, after round" in whole
    assert "90.0 to 10.0" not in text + whole


def test_permanent_links_name_a_block_and_nothing_else_later(
    client: httpx.Client, study: str, explorer: Explorer
) -> None:
    with explorer.reader.look() as db:
        (block,) = db.execute(
            "SELECT block.hash FROM closing JOIN event ON event.id = closing.id "
            "JOIN block ON block.number = event.block WHERE closing.round = 2"
        ).fetchone()
    assert client.get(f"/study/{study}/round/2?block={block}").status_code == 200
    other = client.get(f"/study/{study}/round/2?block=0x{'ab' * 32}")
    assert other.status_code == 404
    assert "indexed blocks 0 to" in other.text
    assert client.get(f"/block/0x{'ab' * 32}/log/0").status_code == 404


def test_what_is_not_there_is_said_with_its_range(client: httpx.Client, study: str) -> None:
    site = "0x" + "77" * 20
    text = client.get(f"/events?study={study}&site={site}&round=10&round_to=20").text
    assert "in rounds 10 to 20; indexed blocks 0 to " in unescape(text)
    assert "No study admitted this address" in client.get(f"/site/{site}").text
    assert client.get(f"/study/0x{'12' * 32}").status_code == 404
    assert client.get(f"/study/{study}/round/{ROUNDS + 1}").status_code == 404


def test_filters_find_exactly_what_they_say(client: httpx.Client, study: str) -> None:
    everything = client.get("/events.json").json()["events"]
    assert len({(one["block"], one["log_index"]) for one in everything}) == len(everything) > 20
    site = next(one["site"] for one in everything if one["site"])
    tries = {
        "name=Contributed": lambda one: one["event"] == "Contributed",
        f"study={study}": lambda one: one["study"] == study,
        f"site={site}": lambda one: site in json.dumps(one["decoded"]),
        f"site={site}&name=Contributed": lambda one: (
            one["event"] == "Contributed" and one["site"] == site
        ),
        f"study={study}&round=2": lambda one: one["round"] == 2,
        f"study={study}&round=2&round_to=3": lambda one: one["round"] in (2, 3),
        f"site={site}&study={study}&round=1&round_to=2": lambda one: (
            one["site"] == site and one["round"] in (1, 2)
        ),
        "block=5&block_to=9": lambda one: 5 <= one["block"] <= 9,
    }
    for query, holds in tries.items():
        found = client.get(f"/events.json?{query}").json()
        assert found["events"] == [one for one in everything if holds(one)], query
        assert found["events"], query
        assert found["indexed"]["first_block"] == 0


def test_csv_has_the_same_rows(client: httpx.Client) -> None:
    rows = list(csv.DictReader(io.StringIO(client.get("/events.csv").text)))
    everything = client.get("/events.json").json()["events"]
    assert [(row["event"], json.loads(row["decoded"])) for row in rows] == [
        (one["event"], one["decoded"]) for one in everything
    ]


@pytest.mark.parametrize(
    ("asked", "leads"),
    [("site-2", "/site/0x"), ("demo", "/study/0x"), ("2", "/round/2"), ("round 3", "/round/3")],
)
def test_search_leads_there(client: httpx.Client, asked: str, leads: str) -> None:
    links = Seen(client.get("/search", params={"q": asked}).text.split("<main")[1]).links
    assert any(leads in link for link in links)


def test_search_finds_every_hash_of_a_round(client: httpx.Client, study: str) -> None:
    text = client.get(f"/study/{study}/round/2").text
    names = set(re.findall(r'data-copy="([^"]+)"', text))
    assert len(names) >= 9
    for name in names:
        found = client.get("/search", params={"q": name}).text
        assert "No match" not in found, name


def test_object_says_what_it_is_and_what_names_it(
    client: httpx.Client, explorer: Explorer, study: str
) -> None:
    cid, manifest = manifest_of(explorer, 2)
    page = client.get(f"/object/{cid}").text
    assert f'href="/study/{study}/round/2"' in page
    for one in manifest["contributions"]:
        assert f'href="/object/{one["update"]["cid"]}"' in page
    for one in (manifest["contributions"][0]["update"], manifest["model"]):
        assert f'href="/study/{study}/round/2"' in client.get(f"/object/{one['cid']}").text
    specification = re.search(r'href="(/object/[^"]+)"', client.get(f"/study/{study}").text)
    assert specification
    assert f'href="/study/{study}">Its study' in client.get(specification[1]).text


def test_reason_of_a_contract_is_read_as_text() -> None:
    assert reason("0x" + b"coordinate".ljust(32, b"\0").hex()) == "coordinate"
    for odd in (bytes(32), b"\xff".ljust(32, b"\0"), b"a\nb".ljust(32, b"\0")):
        assert reason("0x" + odd.hex()) == short("0x" + odd.hex())
    assert reason("<b>") == "<b>"


def test_unchanged_page_is_not_sent_again(client: httpx.Client, study: str) -> None:
    first = client.get(f"/study/{study}")
    again = client.get(f"/study/{study}", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


HOSTILE = st.text(max_size=80) | st.sampled_from(
    [
        "-1",
        "0",
        "1e9",
        "９",
        "0x",
        "0x" + "zz" * 32,
        "../../etc/passwd",
        "%00",
        "'; DROP TABLE",
        "9" * 40,
    ]
)
PATHS = [
    "/study/{}", "/study/{}/round/1", "/study/{study}/round/{}", "/study/{study}/round/{}/bytes",
    "/study/{study}/round/{}/replay", "/study/{study}/round/1?block={}", "/site/{}", "/block/{}",
    "/block/{}/log/0", "/block/0x00/log/{}", "/transaction/{}", "/object/{}", "/object/{}/raw",
    "/search?q={}", "/events?name={}", "/events?study={}", "/events?site={}", "/events?round={}",
    "/events?round_to={}", "/events?block={}", "/events?before={}", "/events.{}",
    "/events.csv?block_to={}", "/site/0x" + "11" * 20 + "?before={}", "/static/{}", "/{}",
]  # fmt: skip


@settings(
    max_examples=150,
    deadline=None,
)
@given(path=st.sampled_from(PATHS), value=HOSTILE)
def test_no_address_breaks_the_server(
    client: httpx.Client, study: str, path: str, value: str
) -> None:
    from urllib.parse import quote

    text = quote(value.encode("utf-8", "replace"), safe="")
    answer = client.get(path.replace("{study}", study).replace("{}", text))
    assert answer.status_code < 500
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    # A redirect, as to an address without its last slash, has no content.
    if answer.headers.get("content-type", "").startswith("text/html"):
        assert Seen(answer.text).refused == []


@contextmanager
def altered(path: Path, offset: int = 0) -> Iterator[None]:
    """Change one byte of a file, and mend it."""
    before = path.read_bytes()
    changed = bytearray(before)
    changed[offset] ^= 1
    path.write_bytes(bytes(changed))
    try:
        yield
    finally:
        path.write_bytes(before)


def manifest_of(explorer: Explorer, number: int) -> tuple[str, dict]:
    with explorer.reader.look() as db:
        cid, document = db.execute(
            "SELECT manifest.cid, document FROM manifest JOIN closing "
            "ON closing.id = manifest.closing WHERE closing.round = ?",
            (number,),
        ).fetchone()
    return cid, json.loads(document)


def test_altered_manifest_in_the_store_is_shown_as_such(
    client: httpx.Client, study: str, explorer: Explorer, copied_run: Path
) -> None:
    cid, _ = manifest_of(explorer, 2)
    page = f"/study/{study}/round/2"
    with altered(copied_run / "store" / cid, 40):
        # A page is kept for a moment, so that many readers cost one rendering.
        deadline = time.monotonic() + 10
        while "The manifest in the store is altered" not in client.get(page).text:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        shown = client.get(f"/object/{cid}").text
        assert "This object is not what its name says" in shown


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE closing SET total_weight = total_weight + 1", "is not the one in the event"),
        ("UPDATE closing SET commitment = '0x' || printf('%064d', 7)", "do not hash to the commit"),
        ("UPDATE entry SET weight = weight + 1", "do not give the contributions root"),
        (
            "UPDATE manifest SET document = json_set(document, '$.scaleBits', 1)",
            "has not the digest in the record",
        ),
    ],
)
def test_altered_index_is_shown_as_such(
    client: httpx.Client, study: str, explorer: Explorer, change: str, words: str
) -> None:
    where = {"entry": "closing", "manifest": "closing", "closing": "id"}[change.split()[1]]
    with closing(sqlite3.connect(explorer.reader.path)) as db:
        (key,) = db.execute("SELECT id FROM closing WHERE round = 2").fetchone()
        table = change.split()[1]
        before = db.execute(f"SELECT * FROM {table} WHERE {where} = ?", (key,)).fetchall()
        db.execute(f"{change} WHERE {where} = ?", (key,))
        db.commit()
        try:
            assert words in client.get(f"/study/{study}/round/2").text
        finally:
            db.execute("PRAGMA foreign_keys = OFF")
            marks = ", ".join("?" * len(before[0]))
            db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", before)
            db.commit()
    assert words not in client.get(f"/study/{study}/round/2").text
