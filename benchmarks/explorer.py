"""The explorer's index: how fast it takes a chain in, how soon a block is in it, and what
questions take when it holds a million events.

The chain is a local anvil with real closings of signed contributions. The large index is made up,
see `benchmarks.synthetic_index`.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from eth_account import Account
from eth_account.signers.local import LocalAccount

from benchmarks.figure import Detail, Figure, Result, Target, seconds_of
from benchmarks.synthetic_index import ROUNDS, fill, made_params
from wardround.chain.study_token import StudyToken
from wardround.chain.ward_round import WardRound
from wardround.devchain.anvil import Anvil
from wardround.devchain.evm import Genesis
from wardround.devchain.faucet import DEV_CHAIN_ID, balances_of
from wardround.explorer.events import EventFilter, list_events
from wardround.explorer.indexer import Indexer
from wardround.explorer.reader import Reader
from wardround.explorer.rounds import read_round
from wardround.explorer.search import search
from wardround.explorer.sites import read_site
from wardround.explorer.source import Source, chain_source
from wardround.explorer.studies import list_studies, read_study, series, study_rounds
from wardround.explorer.web.explorer import Explorer
from wardround.explorer.web.round import round_page
from wardround.explorer.web.study import study_page
from wardround.protocol.contribution import Contribution, Entry, contributions_root, sort_entries
from wardround.protocol.identifiers import Digest, Root, SiteAddress
from wardround.protocol.record import Record, StudyParams, StudyParties, genesis_closing

_CHILD = r"""
import re, sys, time
from pathlib import Path
from wardround.explorer.indexer import Indexer
from wardround.explorer.source import chain_source
url, contract, path = sys.argv[1:]
with chain_source(url, contract, first_block=0) as source:
    indexer = Indexer(source, Path(path))
    started = time.perf_counter()
    indexer.follower.catch_up()
    print(time.perf_counter() - started)
    indexer.catch_up()
# Not ru_maxrss: it survives exec, and 664 MB of the benchmarks' own were taken for the indexer's.
print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024)
"""


def measure(quick: bool) -> Result:
    """Measure backfill and latency on an anvil, and questions to a large index."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        with _network(sites=5 if quick else 100, rounds=5 if quick else 150) as network:
            events, seconds, memory = network.backfill(folder)
            delays = network.delays(folder, 5 if quick else 50)
        target = 10_000 if quick else 1_000_000
        started = perf_counter()
        held = fill(folder / "large.sqlite", target)
        filling = perf_counter() - started
        asked = _questions(folder / "large.sqlite", 5 if quick else 30)
        rendered = _renders(folder / "large.sqlite", 5 if quick else 30)
    slowest = max(seconds for name, seconds in asked.items() if name in _PAGES)
    figures = [
        Figure(
            "backfill from an anvil",
            ours=events / seconds,
            peer=held / filling,
            peer_name="decoding and writing alone",
            unit="events/s",
            target=Target(10_000, at_most=False),
            absolute=True,
        ),
        _wait("a block's event in the index", median(delays)),
        _wait(f"questions of a study or round page, {held:,} events", slowest),
        _wait(
            f"study or round page rendered, {held:,} events", max(map(median, rendered.values()))
        ),
        Figure(
            "memory of an indexing process",
            ours=memory / 1e6,
            unit="MB",
            target=Target(300, at_most=True),
            absolute=True,
        ),
    ]
    details = [Detail(name, 1e3 * seconds, "ms") for name, seconds in asked.items()]
    for name, times in rendered.items():
        details.append(Detail(f"{name} rendered", 1e3 * median(times), "ms"))
        details.append(Detail(f"{name} rendered, the slowest", 1e3 * max(times), "ms"))
    details.append(Detail("the latest of those blocks", 1e3 * max(delays), "ms"))
    return Result(figures, {f"{held:,} events": details})


def _wait(what: str, seconds: float) -> Figure:
    """What a reader waits for: at most 50 ms."""
    target = Target(50, at_most=True)
    return Figure(what, ours=1e3 * seconds, unit="ms", target=target, absolute=True)


class _Network:
    """An anvil with closed rounds of signed contributions."""

    def __init__(self, anvil: Anvil, ward: WardRound, sponsor: LocalAccount) -> None:
        self._anvil, self._ward, self._sponsor = anvil, ward, sponsor

    def backfill(self, folder: Path) -> tuple[int, float, int]:
        """Index all of it in a process of its own: events, seconds, bytes of memory."""
        path = folder / "backfill.sqlite"
        url = self._anvil.chain.url
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, url, self._ward.address, str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
        seconds, memory = done.stdout.split()
        reader = Reader(path)
        events = reader.health().events
        reader.close()
        return events, float(seconds), int(memory)

    def delays(self, folder: Path, count: int) -> list[float]:
        """From a transaction's acceptance by the node, which mines it at once, to the index."""
        chain = self._anvil.chain
        with chain_source(chain.url, self._ward.address, first_block=0) as source:
            indexer, stop = Indexer(source, folder / "backfill.sqlite"), threading.Event()
            thread = threading.Thread(target=indexer.run, args=(stop,))
            thread.start()
            try:
                return [self._delay(source, indexer.path, place) for place in range(count)]
            finally:
                stop.set()
                thread.join()
                indexer.close()

    def _delay(self, source: Source, path: Path, place: int) -> float:
        chain = self._anvil.chain
        sponsor = self._sponsor.address
        params = made_params(sponsor, sponsor, sponsor, reward_wei=1, rounds=10_000 + place)
        call = self._ward.contract.function("createStudy", params.abi(), [sponsor], [])
        signed = self._sponsor.sign_transaction(
            {
                "chainId": chain.chain_id,
                "nonce": int(chain.rpc("eth_getTransactionCount", sponsor, "latest"), 16),
                "gas": 2_000_000,
                "maxFeePerGas": 10**11,
                "maxPriorityFeePerGas": 1,
                "to": call.to,
                "data": call.data,
            }
        )
        reader = Reader(path)
        chosen = EventFilter(study="0x" + params.study_id.hex())
        chain.rpc("eth_sendRawTransaction", "0x" + signed.raw_transaction.hex())
        started = perf_counter()
        while not list_events(reader, chosen, limit=1).rows:
            if perf_counter() > started + 20:
                raise TimeoutError("the event is not indexed")
            time.sleep(0.001)
        taken = perf_counter() - started
        reader.close()
        # Not in step with the follower's own pauses.
        time.sleep(0.013 * (place % 5))
        return taken


@contextmanager
def _network(sites: int, rounds: int) -> Iterator[_Network]:
    sponsor = Account.create()
    genesis = Genesis(DEV_CHAIN_ID, int(time.time()), balances_of([sponsor.address]))
    with Anvil(genesis) as anvil:
        chain = anvil.chain
        token = StudyToken.deploy(chain, sponsor, 10**30)
        ward = WardRound.deploy(chain, sponsor)
        params = made_params(
            sponsor.address, token.address, sponsor.address, reward_wei=1, rounds=rounds
        )
        ward.create_study(sponsor, params, StudyParties.of([sponsor.address]))
        token.approve(sponsor, ward.address, rounds + params.bond)
        ward.fund(sponsor, params.study_id, rounds)
        ward.post_bond(sponsor, params.study_id)
        keys = [Account.create() for _ in range(sites)]
        for key in keys:
            ward.admit_site(sponsor, params.study_id, key.address, key.address, 100)
        ward.open_study(sponsor, params.study_id)
        facts, previous = ward.facts(params.study_id), genesis_closing(params.initial_model)
        for number in range(1, rounds + 1):
            entries = _entries(keys, ward, params, number, previous.record.model)
            record = Record(
                contributions_root(entries),
                Root(number.to_bytes(32, "big")),
                Digest(bytes(32)),
                Root(bytes(32)),
                len(entries),
                100 * len(entries),
            )
            previous = ward.close_round(sponsor, facts, number, record, previous, entries).closing
        yield _Network(anvil, ward, sponsor)


def _entries(
    keys: list[LocalAccount], ward: WardRound, params: StudyParams, number: int, base: Root
) -> list[Entry]:
    entries = []
    for key in keys:
        site = SiteAddress(key.address)
        update, report = Root(number.to_bytes(32, "little")), Digest(bytes(32))
        said = Contribution(params.study_id, number, base, site, update, 100, report)
        signature = said.sign(ward.domain, bytes(key.key))
        entries.append(Entry(site, 100, update, report, signature))
    return sort_entries(entries)


#: Questions that pages of studies and rounds ask; the others are shown beside them.
_PAGES = frozenset({"study", "rounds of a study", "round", "charts of a study"})


def _renders(path: Path, repeats: int) -> dict[str, list[float]]:
    """Seconds to make the bytes of a page, each time of another study and round: nothing is kept.

    The made-up index has no content store behind it, so a round's manifest is shown as missing.
    """
    reader = Reader(path)
    explorer = Explorer(reader, None)
    studies = [one.study for one in list_studies(reader).rows]
    found: dict[str, list[float]] = {"study page": [], "round page": []}
    for place in range(repeats):
        study = studies[place % len(studies)]
        number = 1 + 37 * place % ROUNDS
        found["study page"].append(seconds_of(partial(study_page, explorer, study)))
        found["round page"].append(seconds_of(partial(round_page, explorer, study, number, None)))
    reader.close()
    return found


def _questions(path: Path, repeats: int) -> dict[str, float]:
    reader = Reader(path)
    study = list_studies(reader).rows[-1].study
    one = read_round(reader, study, 50)
    site = one.entries[0].site
    asked: dict[str, Callable[[], object]] = {
        "study": lambda: read_study(reader, study),
        "rounds of a study": lambda: study_rounds(reader, study),
        "charts of a study": lambda: series(reader, study),
        "round": lambda: read_round(reader, study, 50),
        "list of studies": lambda: list_studies(reader),
        "site": lambda: read_site(reader, site),
        "newest events": lambda: list_events(reader),
        "events of a site in a study": lambda: list_events(
            reader, EventFilter(study=study, site=site)
        ),
        "events of a name": lambda: list_events(reader, EventFilter(name="RoundClosed")),
        "search for a root": lambda: search(reader, one.summary.model),
        "search for an address": lambda: search(reader, site),
        "health": reader.health,
    }
    found = {
        name: median(seconds_of(question) for _ in range(repeats))
        for name, question in asked.items()
    }
    reader.close()
    return found
