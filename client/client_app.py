"""The Flower ClientApp of a site: the same under every engine.

A site's folder (``site.toml``, key, tables) is found through the node's configuration: a
simulation names the network's folder in the run configuration and the site by its partition.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from client.privacy import PrivacyBook
from client.settings import SiteSettings, load_site_settings
from client.site import Identity, Site
from learning.datasets import load_table
from ledger.application import application_digest
from ledger.chain import Chain, connected
from ledger.key_file import read_key
from ledger.ward_round import WardRound
from protocol.contribution import Domain
from protocol.errors import Malformed, ScenarioError, StudyMismatch
from protocol.fixed_point import Int32Vector, vector_bytes, vector_from_bytes
from protocol.identifiers import SiteAddress
from protocol.messages import FIELDS, VECTOR, VECTOR_DTYPE, VECTOR_FORMAT, Assignment, Introduction

app = ClientApp()

NETWORK_KEY = "network"
SECRET_FILE, ACCOUNT_FILE = "noise.secret", "privacy.json"
_SITES_KEPT = 1024
_connections = ExitStack()


@app.query()
def introduce(message: Message, context: Context) -> Message:
    """Say which site answers at this node."""
    identity = _site(context).identity
    introduction = Introduction(identity.address, identity.name)
    return Message(RecordDict({FIELDS: ConfigRecord(introduction.fields())}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train from the base model and answer with the signed update."""
    task, base = _assignment(message)
    delivery, update = _site(context).contribute(task, base)
    content = RecordDict(
        {FIELDS: ConfigRecord(delivery.fields()), VECTOR: ArrayRecord({VECTOR: _array(update)})}
    )
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Measure a model on the site's test rows; counts and rates leave, rows do not."""
    task, model = _assignment(message)
    site = _site(context)
    metrics = site.evaluate(task, model)
    values: dict[str, Any] = {
        "examples": metrics.examples,
        "correct": metrics.correct,
        "accuracy": metrics.accuracy,
        "log_loss": metrics.log_loss,
    }
    if metrics.auc is not None:
        values["auc"] = metrics.auc
    return Message(RecordDict({"metrics": MetricRecord(values)}), reply_to=message)


def site_folder(context: Context) -> Path:
    """Find the folder of the site that a node stands for."""
    network = str(context.run_config.get(NETWORK_KEY, ""))
    if not network:
        raise ScenarioError("flwr run", "no network is named: use `wardround simulate` to make one")
    folders = sorted((Path(network) / "sites").iterdir())
    partition = int(context.node_config["partition-id"])
    if not 0 <= partition < len(folders):
        raise ScenarioError(network, f"it has {len(folders)} sites, and none for node {partition}")
    return folders[partition]


def _site(context: Context) -> Site:
    return open_site(str(site_folder(context)))


@lru_cache(maxsize=_SITES_KEPT)
def open_site(folder: str) -> Site:
    """Open a site from its folder; once a process.

    Raises:
        SpecificationError: the settings cannot be used.
        WrongChain: the endpoint serves another chain.
        DataError: a table is missing, malformed or empty.
    """
    path = Path(folder)
    settings = load_site_settings(path)
    chain = _chain(settings.study.chain, settings.study.chain_id)
    contract = WardRound(chain, settings.study.contract)
    return Site(
        identity=_identity(settings, path),
        domain=Domain(settings.study.chain_id, contract.address),
        study=settings.study_id,
        code=application_digest(),
        chain=contract,
        train=load_table(path / settings.data.train),
        test=load_table(path / settings.data.test),
        clock=time.monotonic,
        privacy=PrivacyBook(path / SECRET_FILE, path / ACCOUNT_FILE),
    )


@lru_cache(maxsize=_SITES_KEPT)
def _chain(url: str, chain_id: int) -> Chain:
    """Open a chain once for all sites of a process."""
    return _connections.enter_context(connected(url, chain_id))


def close_sites() -> None:
    """Let go of every site that is kept open in this process, and of their chains."""
    open_site.cache_clear()
    _chain.cache_clear()
    _connections.close()


def _identity(settings: SiteSettings, folder: Path) -> Identity:
    account = read_key(folder / settings.site.key_file)
    return Identity(settings.site.name, SiteAddress(account.address), bytes(account.key))


def _assignment(message: Message) -> tuple[Assignment, Int32Vector]:
    content = message.content
    if set(content) != {FIELDS, VECTOR}:
        raise Malformed("message", f"records {sorted(content)} where fields and vector belong")
    task = Assignment.parse(dict(content.config_records[FIELDS]))
    array = content.array_records[VECTOR][VECTOR]
    if array.dtype != VECTOR_DTYPE or array.stype != VECTOR_FORMAT:
        raise StudyMismatch("vector", VECTOR_DTYPE, array.dtype)
    return task, vector_from_bytes(array.data, task.params.parameter_count)


def _array(vector: Int32Vector) -> Array:
    data = vector_bytes(np.ascontiguousarray(vector))
    return Array(dtype=VECTOR_DTYPE, shape=vector.shape, stype=VECTOR_FORMAT, data=data)
