"""The explorer in a real browser: live rows, verification, search, export, themes, keyboard."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.explorer.serving import served
from tests.explorer.web.test_pages import altered, manifest_of
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.devchain.anvil import Anvil
from wardround.devchain.evm import Genesis
from wardround.explorer.indexer import Indexer
from wardround.explorer.reader import Reader
from wardround.explorer.source import chain_source
from wardround.explorer.web.app import create_app
from wardround.explorer.web.explorer import Explorer
from wardround.protocol.cid import cid_of
from wardround.protocol.record import Recording, RuleId
from wardround.store import FolderStore
from wardround_simulations.stage import BOND, REWARD, Parties, Stage, specification

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


DESKTOP = {"width": 1200, "height": 900}
PHONE = {"width": 360, "height": 740}
ROUNDS = 8
ETHER = 10**18
#: Where to keep pictures for the docs; unset, they are taken and thrown away. Those in the docs
#: show a run of the whole demo, named by `RUN` in `conftest.py`.
IMAGES = "WARDROUND_EXPLORER_IMAGES"


@contextmanager
def opened(browser: Browser, where: str, **options: Any) -> Iterator[Page]:
    """A page in a fresh window; whatever the browser complains of fails the test."""
    context = browser.new_context(**{"viewport": DESKTOP, "color_scheme": "light"} | options)
    complaints: list[str] = []
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None,
    )
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.on(
        "request",
        lambda asked: (
            complaints.append(f"asked {asked.url}")
            if not asked.url.startswith(where[:17])
            else None
        ),
    )
    try:
        page.goto(where)
        yield page
        assert complaints == []
    finally:
        context.close()


def picture(page: Page, name: str, tmp_path: Path) -> None:
    """Take a picture of the window, small enough for the docs."""
    folder = Path(os.environ.get(IMAGES, tmp_path))
    path = folder / f"explorer-{name}.png"
    page.screenshot(path=path, animations="disabled")
    # 256 colours are enough for a page, and a third of the bytes.
    Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
    assert 5_000 < path.stat().st_size < 150_000


def fits(page: Page) -> bool:
    """Whether nothing has to be scrolled sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


# ------------------------------------------------------------------- verify in place


def check(page: Page, button: str) -> tuple[str, list[str]]:
    """Press a button that verifies; its verdict, and the lines that do not hold."""
    page.click(f"#{button}")
    verdict = page.locator(f"#{button}-result .verdict:not(.busy)")
    verdict.wait_for()
    failing = page.locator(f"#{button}-result li.fails").all_inner_texts()
    return verdict.inner_text(), failing


def test_round_is_verified_in_the_browser_and_on_the_server(
    browser: Browser, address: str, study: str, tmp_path: Path
) -> None:
    with opened(browser, f"{address}/study/{study}/round/2") as page:
        verdict, failing = check(page, "check")
        assert verdict.startswith("✓ All 12 checks hold")
        assert failing == []
        held = page.locator("#check-result li.holds").all_inner_texts()
        for words in (
            "The contract's commitment is the hash of this closing",
            "All 4 contributions are signed by their sites (EIP-712)",
            "The new model is the base plus the mean of the updates",
        ):
            assert any(words in line for line in held), words
        assert page.locator("#check-result li.skipped").count() == 2
        verdict, failing = check(page, "replay")
        assert "follows from its inputs, byte for byte" in verdict
        assert failing == []
        page.evaluate("scrollTo(0, document.querySelector('#verify').offsetTop - 90)")
        picture(page, "verify", tmp_path)


def test_altered_update_fails_both_checks(
    browser: Browser, address: str, study: str, explorer: Explorer, copied_run: Path
) -> None:
    _, manifest = manifest_of(explorer, 2)
    update = manifest["contributions"][1]["update"]["cid"]
    with (
        altered(copied_run / "store" / update, 17),
        opened(browser, f"{address}/study/{study}/round/2") as page,
    ):
        verdict, failing = check(page, "check")
        assert "1 of 11 checks do not hold" in verdict
        (line,) = failing
        assert "Updates and both models" in line
        assert manifest["contributions"][1]["site"] in line
        verdict, failing = check(page, "replay")
        assert verdict.startswith("✗")
        assert failing
    with opened(browser, f"{address}/study/{study}/round/2") as page:
        assert check(page, "check")[0].startswith("✓ All 12")


def test_altered_signature_is_named_with_its_site(
    browser: Browser, address: str, study: str
) -> None:
    """One byte of one signature, changed on its way to the browser."""
    with opened(browser, address) as page:

        def meddle(route: Any) -> None:
            answer = route.fetch()
            raw = answer.json()
            entries = bytearray.fromhex(raw["entries"][2:])
            entries[157 + 100] ^= 1
            route.fulfill(response=answer, json={**raw, "entries": "0x" + entries.hex()})

        page.route("**/bytes?*", meddle)
        page.goto(f"{address}/study/{study}/round/1")
        _, failing = check(page, "check")
        assert len(failing) == 3
        assert any("Contributions root" in line for line in failing)
        assert any("an entry differs from the transaction's" in line for line in failing)
        assert any("signed by their sites" in line and "0x" in line for line in failing)


VECTORS = Path(__file__).parents[2] / "vectors"


def test_browser_reaches_the_protocol_s_test_vectors(browser: Browser, address: str) -> None:
    """The same numbers as Python and Solidity."""
    shared = json.loads((VECTORS / "rules.json").read_text())
    rules, sums, whole = shared["vectors"], shared["sums"], shared["whole"]
    # As text: numbers of JavaScript end at 2**53.
    counts = [{"bound": str(v["bound"]), "values": [str(x) for x in v["values"]]} for v in sums]
    named = json.loads((VECTORS / "commitments.json").read_text())["vectors"]
    merkle = json.loads((VECTORS / "merkle.json").read_text())["certificate_transparency"]
    rounds = [
        one
        for one in json.loads((VECTORS / "scores.json").read_text())["rounds"]
        if "updates" in one
    ]
    with opened(browser, address) as page:
        found = page.evaluate(
            """async ([rules, whole, counts, named, merkle, rounds]) => {
              const p = await import("/static/verify/protocol.js");
              const one = (name, argument, v) => p.aggregate({ name, argument },
                v.values.map((x) => Int32Array.of(x)), v.weights.map(BigInt))[0];
              const all = (v) => {
                const updates = v.updates.map((x) => Int32Array.from(x));
                const weights = v.weights.map(BigInt);
                return [["clipped_mean", 0], ["multi_krum", v.hostile]].map(([name, argument]) =>
                  Array.from(p.aggregate({ name, argument }, updates, weights)));
              };
              const roots_of = (v) => {
                const read = (x) => p.vector(p.fromHex(x), v.parameters);
                const rule = { 0: "mean", 4: "clipped_mean", 5: "multi_krum" }[v.rule];
                const scoring = { name: v.scoring ? "projection" : "examples" };
                return p.namedRoots({ name: rule, argument: v.rule_argument }, scoring,
                  v.updates.map(read), v.weights.map(BigInt), read(v.base), read(v.model));
              };
              const sum = (v) => {
                try {
                  const values = v.values.map((x) => BigInt64Array.of(BigInt(x)));
                  const bytes = p.sumOf(values, BigInt(v.bound));
                  return p.vector(bytes, 1, 8)[0].toString();
                } catch (error) {
                  return error.message;
                }
              };
              const roots = {};
              for (const count of Object.keys(merkle.roots)) {
                const items = merkle.entries.slice(0, count).map((x) => p.fromHex("0x" + x));
                roots[count] = p.toHex(await p.treeHash(items)).slice(2);
              }
              return {
                rules: rules.map((v) => [one("mean", 0, v), one("median", 0, v),
                                         one("trimmed_mean", v.trim, v)]),
                whole: whole.map(all),
                rounds: await Promise.all(rounds.map(roots_of)),
                sums: counts.map(sum),
                named: await Promise.all(named.map(
                  async (v) => p.toHex(await p.commitmentsRoot(v.commitments)))),
                roots,
              };
            }""",
            [rules, whole, counts, named, merkle, rounds],
        )
    assert found["rules"] == [[v["mean"], v["median"], v["trimmed_mean"]] for v in rules]
    assert found["whole"] == [[v["clipped_mean"], v["multi_krum"]] for v in whole]
    assert found["rounds"] == [dict(zip(v["names"], v["roots"], strict=True)) for v in rounds]
    assert found["sums"] == [
        str(v["sum"]) if "sum" in v else f"coordinate 0 exceeds {v['bound']}" for v in sums
    ]
    assert found["named"] == [v["root"] for v in named]
    assert found["roots"] == merkle["roots"]


# ------------------------------------------------------------------- looking around


def test_search_and_export(
    browser: Browser, address: str, study: str, explorer: Explorer, tmp_path: Path
) -> None:
    with explorer.reader.look() as db:
        (rounds,) = db.execute("SELECT count(*) FROM closing").fetchone()
    with opened(browser, address) as page:
        page.keyboard.press("/")
        page.keyboard.type("site-2")
        page.keyboard.press("Enter")
        page.wait_for_url("**/search?q=site-2")
        page.click("main table a")
        page.wait_for_url("**/site/0x*")
        assert page.locator("h1").inner_text() == "site-2"
        page.goto(f"{address}/events")
        page.select_option("select[name=name]", "RoundClosed")
        page.fill("input[name=study]", study)
        page.click("button.primary")
        page.wait_for_url("**/events?name=RoundClosed*")
        assert page.locator("tbody tr").count() == rounds
        picture(page, "events", tmp_path)
        with page.expect_download() as started:
            page.click("text=JSON >> nth=0")
        value = json.loads(started.value.path().read_text())
        assert [one["round"] for one in value["events"]] == list(range(rounds, 0, -1))


def test_dark_by_preference_and_by_choice(
    browser: Browser, address: str, study: str, tmp_path: Path
) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, f"{address}/study/{study}", color_scheme="dark") as page:
        dark = page.evaluate(paper)
        picture(page, "study-dark", tmp_path)
        page.click(".theme")
        light = page.evaluate(paper)
        assert light != dark
        page.goto(f"{address}/events")
        assert page.evaluate(paper) == light
    with opened(browser, f"{address}/study/{study}") as page:
        assert page.evaluate(paper) == light
        picture(page, "study", tmp_path)
        page.click(".theme")
        assert page.evaluate(paper) == dark


def contrast(page: Page) -> list[str]:
    """Texts with too little contrast against their background (WCAG 2.2, 1.4.3)."""
    return page.evaluate(
        """() => {
          const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
          const light = ([r, g, b]) => [r, g, b].reduce((sum, c, at) => {
            const s = c / 255;
            const linear = s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
            return sum + linear * [0.2126, 0.7152, 0.0722][at];
          }, 0);
          const behind = (node) => {
            for (let at = node; at; at = at.parentElement) {
              const colour = parse(getComputedStyle(at).backgroundColor);
              if (colour.length === 3 || colour[3] > 0.99) return colour;
            }
            return [255, 255, 255];
          };
          const faults = [];
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          for (let text; (text = walker.nextNode());) {
            const node = text.parentElement;
            if (!text.data.trim() || !node.checkVisibility() || node.closest("svg")) continue;
            const [one, other] = [light(parse(getComputedStyle(node).color)), light(behind(node))];
            const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
            if (ratio < 4.5) faults.push(`${ratio.toFixed(2)}: ${text.data.trim().slice(0, 40)}`);
          }
          return faults;
        }"""
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_themes(
    browser: Browser, address: str, study: str, scheme: str
) -> None:
    with opened(browser, address, color_scheme=scheme) as page:
        for path in ("", f"/study/{study}", f"/study/{study}/round/2", "/events"):
            page.goto(address + path)
            assert contrast(page) == [], path


def test_phone_needs_no_scrolling_sideways(
    browser: Browser, address: str, study: str, explorer: Explorer, tmp_path: Path
) -> None:
    with explorer.reader.look() as db:
        (site,) = db.execute("SELECT site FROM member LIMIT 1").fetchone()
        (transaction,) = db.execute("SELECT hash FROM tx ORDER BY id DESC LIMIT 1").fetchone()
        (block, index) = db.execute(
            "SELECT block.hash, log_index FROM event JOIN block ON block.number = event.block "
            "WHERE name = 'StudyCreated'"
        ).fetchone()
    cid, _ = manifest_of(explorer, 1)
    pages = [
        "/", f"/study/{study}", f"/study/{study}/round/2", f"/site/{site}", "/events",
        f"/transaction/{transaction}", f"/block/{block}", f"/block/{block}/log/{index}",
        f"/object/{cid}", f"/search?q={study}", "/nothing",
    ]  # fmt: skip
    with opened(browser, address, viewport=PHONE, has_touch=True) as page:
        for path in pages[:-1]:
            page.goto(address + path)
            assert fits(page), path
        page.goto(f"{address}/study/{study}/round/2")
        picture(page, "phone", tmp_path)


def test_keyboard_reaches_everything_and_is_seen(
    browser: Browser, address: str, study: str
) -> None:
    with opened(browser, f"{address}/study/{study}/round/2") as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert page.locator(".skip").bounding_box()["y"] >= 0  # type: ignore[index]
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            found = page.evaluate(
                "(() => { const e = document.activeElement; const s = getComputedStyle(e);"
                " return [e.id || e.tagName, s.outlineStyle, s.outlineWidth]; })()"
            )
            if found[0] == "BODY":
                break
            assert found[1:] == ["solid", "3px"], found
            reached.add(found[0])
        assert {"check", "replay", "A", "BUTTON"} <= reached
        page.focus("#check")
        page.keyboard.press("Enter")
        page.locator("#check-result .verdict.holds").wait_for()
        assert page.locator("#check-result").get_attribute("aria-live") == "polite"


# ------------------------------------------------------------------- hostile texts

HOSTILE = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>\'"&lt;{{7*7}}'


def test_hostile_texts_stay_texts(
    browser: Browser, explorer: Explorer, copied_run: Path, tmp_path: Path, study: str
) -> None:
    """Names, reasons, evidence, specification, statements and objects, all of them hostile."""
    index = tmp_path / "hostile.sqlite"
    with closing(sqlite3.connect(explorer.reader.path)) as source:
        source.execute("VACUUM INTO ?", (str(index),))
    with closing(sqlite3.connect(index)) as db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("UPDATE label SET name = ? || rowid FROM (SELECT 1 AS rowid)", (HOSTILE,))
        db.execute(
            "UPDATE specification SET document = json_set(document, '$.study.name', ?1, "
            "'$.data.\"' || 'name' || '\"', ?1)",
            (HOSTILE,),
        )
        db.execute(
            "INSERT INTO dropped SELECT closing, ?, ?, ? FROM entry GROUP BY closing",
            ("0x" + "66" * 20, HOSTILE, HOSTILE),
        )
        db.execute(
            "UPDATE statement SET document = json_set(document, '$.accuracy', json_object(?, 0.5))",
            (HOSTILE,),
        )
        db.execute(
            "UPDATE event SET args = json_set(args, '$.reason', ?1, '$.update', ?1, '$.site', ?1)",
            (HOSTILE,),
        )
        db.execute(
            "UPDATE meta SET value = ? WHERE key IN ('source', 'store', 'trouble')", (HOSTILE,)
        )
        db.execute("UPDATE entry SET report_status = ?, report_document = NULL", (HOSTILE,))
        db.commit()
        (site,) = db.execute("SELECT site FROM member LIMIT 1").fetchone()
        (block, log) = db.execute(
            "SELECT block.hash, log_index FROM event JOIN block ON block.number = event.block "
            "WHERE name = 'Contributed' LIMIT 1"
        ).fetchone()
    store = Path(shutil.copytree(copied_run / "store", tmp_path / "store"))
    data = json.dumps({"hostile": HOSTILE}).encode()
    (store / cid_of(data)).write_bytes(data)
    assert explorer.source is not None
    reader = Reader(index)
    hostile = Explorer(reader, replace(explorer.source, store=FolderStore(store)))
    paths = [
        "/", f"/study/{study}", f"/study/{study}/round/2", f"/site/{site}", "/events",
        f"/block/{block}/log/{log}", f"/object/{cid_of(data)}",
        "/search?q=%3Cimg%20src%3Dx%20onerror%3D%22window.pwned%3D1%22%3E", "/search?q=onerror",
    ]  # fmt: skip
    try:
        with served(create_app(hostile)) as where, opened(browser, where) as page:
            seen = 0
            for path in paths:
                page.goto(where + path)
                page.wait_for_load_state("load")
                assert page.evaluate("window.pwned") is None, path
                assert page.locator("img").count() == 0, path
                assert "49" not in page.title()
                seen += page.content().count("&lt;img src=x onerror")
            assert seen > 20
    finally:
        reader.close()


# ------------------------------------------------------------------- live


@contextmanager
def live_network(folder: Path) -> Iterator[tuple[Stage, str]]:
    """A study on a real anvil, followed by an explorer on a real socket."""
    parties = Parties.new()
    balances = dict.fromkeys(parties.addresses, 10_000 * ETHER)
    with Anvil(Genesis(31_337_006, 1_760_000_000, balances)) as anvil:
        token = StudyToken.deploy(anvil.chain, parties.sponsor, 100 * REWARD + 10 * BOND)
        token.transfer(parties.sponsor, parties.standby.address, BOND)
        ward = WardRound.deploy(anvil.chain, parties.sponsor)
        store = folder / "store"
        with chain_source(anvil.url, ward.address, str(store), first_block=0) as source:
            index = folder / "live.sqlite"
            indexer = Indexer(source, index, confirmations=2)
            stop = threading.Event()
            thread = threading.Thread(target=indexer.run, args=(stop,), daemon=True)
            thread.start()
            reader = Reader(index)
            try:
                with served(create_app(Explorer(reader, source))) as where:
                    spec = specification("live", Recording.FULL, RuleId.MEAN, ROUNDS, 0)
                    yield Stage(ward, token, parties, spec, store), where
            finally:
                stop.set()
                thread.join(20)
                assert not thread.is_alive()
                indexer.close()
                reader.close()


WATCH = """() => {
  window.arrived = [];
  const feed = document.querySelector("[data-feed]");
  new MutationObserver((changes) => {
    for (const change of changes) for (const row of change.addedNodes) {
      if (row.nodeType === 1) {
        window.arrived.push([row.querySelector("th").textContent.trim(), Date.now()]);
      }
    }
  }).observe(feed, { childList: true });
}"""


def test_live_study_appears_row_by_row(browser: Browser, tmp_path: Path) -> None:
    with live_network(tmp_path) as (stage, where), opened(browser, where) as page:
        page.locator(".live[data-state=on]").wait_for()
        page.locator("[data-feed] tr").first.wait_for()
        assert page.locator("text=live").first.is_visible()
        page.goto(f"{where}/study/0x{bytes(stage.study).hex()}")
        page.locator(".live[data-state=on]").wait_for()
        page.evaluate(WATCH)
        delays, before = [], page.locator("[data-feed] tr").count()
        assert before > 0
        for number in range(1, ROUNDS):
            stage.close(stage.parties.first)
            mined = time.time() * 1000
            page.wait_for_function(
                "n => arrived.filter((one) => one[0] === 'RoundClosed').length >= n", arg=number
            )
            closed = [at for name, at in page.evaluate("arrived") if name == "RoundClosed"]
            delays.append(closed[-1] - mined)
        names = [name for name, _ in page.evaluate("arrived")]
        assert names.count("Contributed") == 4 * (ROUNDS - 1)
        # Other parts of the page follow, without loading it again.
        page.locator(f".rounds a.closed >> nth={ROUNDS - 2}").wait_for()
        page.locator(f"[data-region=lineage] tbody tr >> nth={ROUNDS - 1}").wait_for()
        # From when the sender knew of the block: what it took to know is in this side's favour by
        # a few milliseconds, and against it in none.
        print(f"block to page: median {statistics.median(delays):.0f} ms, {sorted(delays)}")
        assert statistics.median(delays) <= 200


def test_open_round_becomes_a_closed_one(browser: Browser, tmp_path: Path) -> None:
    with live_network(tmp_path) as (stage, where):
        study = "0x" + bytes(stage.study).hex()
        with opened(browser, f"{where}/study/{study}/round/1") as page:
            assert page.locator("h1 + .pill").inner_text() == "open"
            stage.close(stage.parties.first)
            page.locator("[data-region=title] .pill.closed").wait_for()
            page.locator("[data-region=entries] tbody tr >> nth=3").wait_for()
            # What verifies came with it.
            page.locator("#check").wait_for()
