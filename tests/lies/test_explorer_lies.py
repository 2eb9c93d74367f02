"""The explorer shows every dishonest study: each page renders, or names why there is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.lies.catalogue import LIES
from tests.lies.documents import honest
from tests.lies.lie import Dishonest, Lie
from wardround.chain.court import Court
from wardround.chain.errors import UnknownContract
from wardround.chain.ward_round import WardRound
from wardround.devchain.embedded import EmbeddedChain
from wardround.explorer.errors import ExplorerError, NodeUnreliable
from wardround.explorer.index import follow
from wardround.explorer.indexer import Indexer
from wardround.explorer.reader import Reader
from wardround.explorer.rounds import read_open_round, read_round
from wardround.explorer.sites import read_site
from wardround.explorer.source import Source
from wardround.explorer.studies import read_study, series
from wardround.explorer.web import log, lookup, study
from wardround.explorer.web import round as rounds
from wardround.explorer.web.explorer import Explorer
from wardround.protocol.errors import WardroundError
from wardround.protocol.identifiers import hex_of

#: Elements that no page of ours writes, and attributes that run something.
FOREIGN = {"alert", "iframe", "img", "object", "embed"}


class Markup(HTMLParser):
    """What a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.running: set[str] = set()
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        given = dict(attrs)
        self.running |= {name for name in given if name.startswith("on")}
        if tag == "script":
            self.scripts.append(str(given.get("src") or given.get("type") or "inline"))
        for name in ("href", "src", "action"):
            target = given.get(name) or ""
            if re.match(r"\s*(javascript|data|vbscript):", target, re.IGNORECASE):
                self.running.add(f"{name}={target}")


def markup_of(page: str) -> Markup:
    found = Markup()
    found.feed(page)
    return found


@contextmanager
def shown(study: Dishonest, index: Path) -> Iterator[Explorer]:
    """Index a study as `wardround explore` does."""
    ward = WardRound.opened(study.chain, study.address)
    source = Source("lies", study.chain, ward, Court(ward), study.store, 0, live=False)
    indexer = Indexer(source, index)
    try:
        indexer.catch_up()
    finally:
        indexer.close()
    reader = Reader(index)
    try:
        yield Explorer(reader, source)
    finally:
        reader.close()


#: What a page or an answer of the API is made of: bytes of HTML, or a value.
Made = Callable[[], object]


def made_of(explorer: Explorer, lying: Dishonest) -> dict[str, Made]:
    """What makes each page and each answer of the API that concerns a study."""
    name, reader = hex_of(lying.study), explorer.reader
    with reader.look() as db:
        numbers = [int(row[0]) for row in db.execute("SELECT DISTINCT round FROM closing")]
        members = [str(row[0]) for row in db.execute("SELECT DISTINCT site FROM member")]
        newest = (
            "SELECT block.hash, log_index, tx.hash FROM event JOIN tx ON tx.id = tx "
            "JOIN block ON number = event.block ORDER BY event.id DESC"
        )
        block, log_index, transaction = db.execute(newest).fetchone()
    made: dict[str, Made] = {
        "overview": partial(study.overview_page, explorer),
        "study": partial(study.study_page, explorer, name),
        "log": partial(log.log_page, explorer, {"study": name}),
        "log as CSV": lambda: b"".join(log.export(explorer, "csv", {})),
        "raw event": partial(lookup.event_page, explorer, block, log_index),
        "block": partial(lookup.block_page, explorer, block),
        "transaction": partial(lookup.transaction_page, explorer, transaction),
        "search of the study": partial(lookup.search_page, explorer, name),
        "API: study": partial(read_study, reader, name),
        "API: series": partial(series, reader, name, 50, None),
        "API: open round": partial(read_open_round, reader, name),
    }
    for number in numbers:
        made |= {
            f"round {number}": partial(rounds.round_page, explorer, name, number, None),
            f"bytes of round {number}": partial(rounds.round_bytes, explorer, name, number, None),
            f"API: round {number}": partial(read_round, reader, name, number, None),
        }
    for site in members[:: len(members) - 1 or 1]:
        made |= {
            f"site {site}": partial(lookup.site_page, explorer, site),
            f"search of {site}": partial(lookup.search_page, explorer, site),
            f"API: site {site}": partial(read_site, reader, site),
        }
    # Whatever bytes a lie changed are in one of them.
    for cid in lying.store.objects:
        made[f"object {cid}"] = partial(lookup.object_page, explorer, cid)
    return made


def faults(name: str, dishonest: Dishonest, index: Path) -> list[str]:
    """What is wrong with the pages of a study, if anything."""
    try:
        with shown(dishonest, index) as explorer:
            return [
                f"{name}: {page}: {fault}"
                for page, make in made_of(explorer, dishonest).items()
                if (fault := fault_of(make)) is not None
            ]
    except (UnknownContract, NodeUnreliable, ExplorerError) as error:
        # Of other code, or from a node that lies: said by name, and nothing of it is shown.
        if isinstance(dishonest.chain, EmbeddedChain) and not isinstance(error, UnknownContract):
            return [f"{name}: not indexed: {error}"]
        return []
    except Exception as error:  # noqa: BLE001  # whatever it is, no page is shown
        return [f"{name}: not indexed: {error!r}"]


def fault_of(make: Made) -> str | None:
    try:
        made = make()
    except WardroundError:
        return None  # a page of its own names it
    except Exception as error:  # noqa: BLE001  # whatever it is, the page is not shown
        return f"an error: {error!r}"
    if not isinstance(made, bytes) or not made.lstrip().startswith(b"<!doctype html>"):
        return None
    markup = markup_of(made.decode())
    if markup.elements & FOREIGN or markup.running or "inline" in markup.scripts:
        return f"it runs what was written: {markup.elements & FOREIGN} {markup.running}"
    return None


def test_pages_of_an_honest_study_render(tmp_path: Path) -> None:
    assert faults("honest", honest(), tmp_path / "index.sqlite") == []
    with shown(honest(), tmp_path / "again.sqlite") as explorer:
        made = made_of(explorer, honest())
        assert len(made) >= 30
        # Not one is refused, so the lies are looked at where they are.
        del made["API: open round"]  # the study is over
        assert all(make() for make in made.values())


def test_foreign_markup_is_noticed() -> None:
    def page(text: str) -> Made:
        return lambda: b"<!doctype html>" + text.encode()

    assert fault_of(page("<p>fine</p><script src='/static/page.js'></script>")) is None
    for text in ("<img src=x>", "<p onclick=1>", "<a href='javascript:1'>", "<script>1</script>"):
        assert fault_of(page(text)), text


def all_faults(lies: Sequence[Lie], folder: Path) -> list[str]:
    found: list[str] = []
    for lie in lies:
        index = folder / "index.sqlite"
        with lie.study() as dishonest:
            found += faults(lie.name, dishonest, index)
        for left in folder.glob("index.sqlite*"):
            left.unlink()
    return found


@pytest.fixture(autouse=True)
def brief_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that lies is asked as often as any other, and does not get better."""
    monkeypatch.setattr(follow, "_FIRST_PAUSE_SECONDS", 0.001)


#: One lie of each field.
OF_EACH_FIELD = tuple({lie.field: lie for lie in LIES}.values())


def test_pages_of_dishonest_studies_render(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = all_faults(OF_EACH_FIELD[::4], tmp_path)
    assert wrong == [], "\n".join(wrong)
    assert not [one for one in caplog.records if one.exc_info]


#: All lies take three minutes of a processor, more than one test may on a busy machine.
PARTS = 8


@pytest.mark.deep
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_pages_of_every_lie_render(part: int, tmp_path: Path) -> None:
    wrong = all_faults(LIES[part::PARTS], tmp_path)
    assert wrong == [], "\n".join(wrong)
