"""The Flower ClientApp of a site: the same under every engine.

A site's folder is found through the node's configuration. A hospital's SuperNode names its home,
and the key is in the guard (`wardround_client.guard`), never in this process. A simulation names
the network's folder in the run configuration and the site by its partition; its keys lie there.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp

from wardround.chain.chain import Chain, connected
from wardround.chain.ward_round import WardRound
from wardround.host.key_file import read_key
from wardround.learning.datasets import load_table
from wardround.protocol.errors import (
    Malformed,
    Retryable,
    ScenarioError,
    StudyMismatch,
    WardroundError,
)
from wardround.protocol.fixed_point import Int32Vector, vector_bytes, vector_from_bytes
from wardround.protocol.identifiers import SiteAddress, StudyId
from wardround.protocol.messages import (
    FIELDS,
    VECTOR,
    VECTOR_DTYPE,
    VECTOR_FORMAT,
    Introduction,
    TrainTask,
)
from wardround.transport.code import application_digest
from wardround.transport.flower.messages import ErrorCode
from wardround_client.app.answers import KeptAnswers
from wardround_client.app.privacy import PrivacyBook
from wardround_client.app.signing import KeySigner
from wardround_client.app.site import Identity, Site
from wardround_client.guard.errors import GuardRefused, Withheld
from wardround_client.guard.signer import GuardClient, GuardedChain, GuardSigner
from wardround_client.guard.tables import load_home_data
from wardround_client.home import Home
from wardround_client.settings import load_site_settings

app = ClientApp()

#: Of the node's configuration: a hospital's home. Of the run's: a simulated network's folder.
SITE_KEY, NETWORK_KEY = "site", "network"
SECRET_FILE, ACCOUNT_FILE = "noise.secret", "privacy.json"
#: What a guard says that it will not say for ever.
_PASSING = frozenset({"ChainSilent", "TableUnusable"})
_SITES_KEPT = 1024
_connections = ExitStack()


@app.query()
def introduce(message: Message, context: Context) -> Message:
    """Say which site answers at this node."""
    with _words_stay(context):
        if SITE_KEY in context.node_config:
            name, address = GuardClient(Home(site_folder(context)).socket).identity()
        else:
            identity = open_site(str(site_folder(context))).identity
            name, address = identity.name, identity.address
    introduction = Introduction(address, name)
    return Message(RecordDict({FIELDS: ConfigRecord(introduction.fields())}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train from the base model and answer with the signed update."""
    with _words_stay(context):
        task, base = _assignment(message)
        try:
            delivery, update = _site(context, task.study).contribute(task, base)
        except WardroundError as error:
            if not _may_pass(error):
                raise
            # A guard or a chain that is away comes back: ask again, as if this node had been away.
            print(f"{error} The coordinator will ask again.", file=sys.stderr, flush=True)
            return Message(
                Error(ErrorCode.NODE_UNAVAILABLE, type(error).__name__), reply_to=message
            )
    content = RecordDict(
        {FIELDS: ConfigRecord(delivery.fields()), VECTOR: ArrayRecord({VECTOR: _array(update)})}
    )
    return Message(content, reply_to=message)


def _may_pass(error: WardroundError) -> bool:
    if isinstance(error, GuardRefused):
        return error.name in _PASSING
    return isinstance(error, Retryable)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Measure a model on the site's test rows; counts and rates leave, rows do not."""
    with _words_stay(context):
        task, model = _assignment(message)
        measures = _site(context, task.study).evaluate(task, model)
    return Message(RecordDict({"metrics": MetricRecord(dict(measures))}), reply_to=message)


def site_folder(context: Context) -> Path:
    """Find the folder of the site that a node stands for."""
    if SITE_KEY in context.node_config:
        return Path(str(context.node_config[SITE_KEY]))
    network = str(context.run_config.get(NETWORK_KEY, ""))
    if not network:
        raise ScenarioError("flwr run", "no network is named: use `wardround simulate` to make one")
    folders = sorted((Path(network) / "sites").iterdir())
    partition = int(context.node_config["partition-id"])
    if not 0 <= partition < len(folders):
        raise ScenarioError(network, f"it has {len(folders)} sites, and none for node {partition}")
    return folders[partition]


@contextmanager
def _words_stay(context: Context) -> Iterator[None]:
    """Let a hospital's errors leave by their names alone.

    Flower sends an error's words to the coordinator, who publishes why it dropped a site.
    """
    if SITE_KEY not in context.node_config:
        yield
        return
    try:
        yield
    except Exception as error:  # noqa: BLE001  (an entry point; any library's words may quote rows)
        name = error.name if isinstance(error, GuardRefused) else type(error).__name__
        print(f"{name}: {error}", file=sys.stderr, flush=True)
    else:
        return
    # Outside of the handler, so that the first error is not kept with this one.
    raise Withheld(name)


def _site(context: Context, study: StudyId) -> Site:
    folder = str(site_folder(context))
    if SITE_KEY in context.node_config:
        return open_home(folder)(study)
    return open_site(folder)


@lru_cache(maxsize=_SITES_KEPT)
def open_home(folder: str) -> Callable[[StudyId], Site]:
    """Open a hospital's home; once a process. Its guard must be running.

    Returns:
        Gives the site as it takes part in a study. Whether it does, the guard says when asked.
    Raises:
        GuardUnreachable: no guard answers.
        SpecificationError: ``site.toml`` cannot be used.
        SourceError: the table does not fit its schema, or cannot be reached.
        DataError: it has no rows, or a prepared one is damaged.
    """
    home = Home(Path(folder))
    guard = GuardClient(home.socket)
    name, address = guard.identity()
    data = load_home_data(home.folder, home.settings(), os.environ)

    @lru_cache(maxsize=_SITES_KEPT)
    def of(study: StudyId) -> Site:
        return Site(
            identity=Identity(name, address),
            signer=GuardSigner(guard, address),
            study=study,
            code=application_digest(),
            chain=GuardedChain(guard),
            train=data.train,
            test=data.test,
            clock=time.monotonic,
            answers=KeptAnswers(home.answers),
        )

    return of


@lru_cache(maxsize=_SITES_KEPT)
def open_site(folder: str) -> Site:
    """Open a simulated site from its folder; once a process.

    Raises:
        SpecificationError: the settings cannot be used.
        WrongChain: the endpoint serves another chain.
        DataError: a table is missing, malformed or empty.
    """
    path = Path(folder)
    settings = load_site_settings(path)
    chain = _chain(settings.study.chain, settings.study.chain_id)
    contract = WardRound(chain, settings.study.contract)
    account = read_key(path / settings.site.key_file)
    address = SiteAddress(account.address)
    book = PrivacyBook(path / SECRET_FILE, path / ACCOUNT_FILE)
    return Site(
        identity=Identity(settings.site.name, address),
        signer=KeySigner(address, contract.domain, bytes(account.key), book),
        study=settings.study_id,
        code=application_digest(),
        chain=contract,
        train=load_table(path / settings.data.train),
        test=load_table(path / settings.data.test),
        clock=time.monotonic,
    )


@lru_cache(maxsize=_SITES_KEPT)
def _chain(url: str, chain_id: int) -> Chain:
    """Open a chain once for all sites of a process."""
    return _connections.enter_context(connected(url, chain_id))


def close_sites() -> None:
    """Let go of every site that is kept open in this process, and of their chains."""
    open_site.cache_clear()
    open_home.cache_clear()
    _chain.cache_clear()
    _connections.close()


def _assignment(message: Message) -> tuple[TrainTask, Int32Vector]:
    content = message.content
    if set(content) != {FIELDS, VECTOR}:
        raise Malformed("message", f"records {sorted(content)} where fields and vector belong")
    task = TrainTask.parse(dict(content.config_records[FIELDS]))
    array = content.array_records[VECTOR][VECTOR]
    if array.dtype != VECTOR_DTYPE or array.stype != VECTOR_FORMAT:
        raise StudyMismatch("vector", VECTOR_DTYPE, array.dtype)
    return task, vector_from_bytes(array.data, task.params.parameter_count)


def _array(vector: Int32Vector) -> Array:
    data = vector_bytes(np.ascontiguousarray(vector))
    return Array(dtype=VECTOR_DTYPE, shape=vector.shape, stype=VECTOR_FORMAT, data=data)
