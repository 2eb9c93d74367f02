"""Opens what a user names, a run's folder or a chain and a contract, and its index."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path

from platformdirs import user_cache_path

from wardround.explorer.errors import IndexUnusable
from wardround.explorer.indexer import CONFIRMATIONS, Indexer
from wardround.explorer.reader import Reader
from wardround.explorer.source import Source, chain_source, run_source
from wardround.host.reason import reason_of
from wardround.host.screen import Screen
from wardround.protocol.errors import ScenarioError, WardroundError
from wardround.protocol.identifiers import StudyId, bytes32

_STOP_SECONDS = 10.0
_err = Screen(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def named_source(
    run_or_study: str | None,
    rpc: str | None = None,
    contract: str | None = None,
    store: str | None = None,
    chain_id: int | None = None,
    from_block: int | None = None,
    reading_key: Path | None = None,
) -> Iterator[tuple[Source, str | None]]:
    """Open what a user names: a source, and the study that is meant, if any.

    Raises:
        ScenarioError: neither a run nor a chain with a contract.
        Malformed: a study's id or an address is invalid.
        ChainError: the chain does not answer, or has no such study.
    """
    if run_or_study is not None and not run_or_study.startswith("0x"):
        if (rpc, contract, store, chain_id, from_block) != (None,) * 5:
            reason = (
                "a run's folder names its chain and store already: leave --rpc, --contract, "
                "--store, --chain-id and --from-block out"
            )
            raise ScenarioError(run_or_study, reason)
        with run_source(Path(run_or_study), reading_key) as source:
            yield source, None
        return
    if reading_key is not None:
        reason = "a reading key goes with a run's folder: leave --reading-key out"
        raise ScenarioError(run_or_study or "explorer", reason)
    study = None if run_or_study is None else StudyId(bytes32(run_or_study, "study"))
    if rpc is None or contract is None:
        reason = "name a run's folder, or a chain with --rpc and --contract"
        raise ScenarioError(run_or_study or "explorer", reason)
    with chain_source(rpc, contract, store, chain_id, from_block, run_or_study) as source:
        if study is not None:
            source.ward.study(study)  # refuses one that is not there
        yield source, run_or_study


@contextmanager
def indexed(
    source: Source,
    index: Path | None = None,
    confirmations: int | None = None,
    *,
    follow: bool = False,
) -> Iterator[Reader]:
    """Index everything, or follow a live source in the background; yield the reader.

    Args:
        source: what is looked at.
        index: the file; by default one in the user's cache, which is replaced if it does not fit:
            everything in it can be read again.
        confirmations: blocks behind the tip that may still change; by default `CONFIRMATIONS`.
        follow: index in a thread, which prints the error that ends it.

    Raises:
        ScenarioError: confirmations are named for a run that is over.
        IndexUnusable: the named file has another format, chain or contract.
        WardroundError: the chain cannot be indexed.
    """
    if confirmations is not None and not source.live:
        reason = "the run is over, and none of its blocks may change: leave --confirmations out"
        raise ScenarioError(source.name, reason)
    indexer = _opened(source, index, CONFIRMATIONS if confirmations is None else confirmations)
    stop = threading.Event()
    thread = threading.Thread(target=_run, args=(indexer, stop), name="indexer", daemon=True)
    try:
        if follow and source.live:
            thread.start()
        else:
            indexer.catch_up()
        with closing(Reader(indexer.path)) as reader:
            yield reader
    finally:
        stop.set()
        if thread.ident is not None:
            thread.join(_STOP_SECONDS)
        indexer.close()


def _opened(source: Source, index: Path | None, confirmations: int) -> Indexer:
    if index is not None:
        return Indexer(source, index, confirmations)
    # Development chains share ids and addresses, so a file is named after the source as well.
    name = source.name if source.live else str(Path(source.name).resolve())
    digest = sha256("\n".join([name, *source.identity.values()]).encode()).hexdigest()[:16]
    path = user_cache_path("wardround") / "explorer" / f"{digest}.sqlite"
    try:
        return Indexer(source, path, confirmations)
    except IndexUnusable:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return Indexer(source, path, confirmations)


def _run(indexer: Indexer, stop: threading.Event) -> None:
    try:
        indexer.run(stop)
    except WardroundError as error:
        _err.show(f"index stopped: {error} [{error.code}]", style="red")
    except Exception as error:  # noqa: BLE001  (a thread's entry point)
        _err.show(f"index stopped: {reason_of(error)} [{type(error).__name__}]", style="red")
