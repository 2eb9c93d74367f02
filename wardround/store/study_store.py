"""Open the store of a study as its settings name it, confidential or not."""

from __future__ import annotations

import re
import time
from pathlib import Path
from urllib.parse import parse_qsl

from eth_account.signers.local import LocalAccount

from wardround.chain.grants import Grants
from wardround.chain.ward_round import WardRound
from wardround.host.key_file import read_key
from wardround.protocol.identifiers import StudyId, address_of
from wardround.store import FolderStore, Store, open_store
from wardround.store.confidential import ConfidentialStore
from wardround.store.errors import store_unknown
from wardround.store.gateway_vault import GatewayVault
from wardround.store.reading_key import read_reading_key
from wardround.store.vault import LocalVault, Vault

PREFIX = "confidential:"
#: Beside the objects of a folder.
INDEX_FOLDER = ".sealed"

_SETTINGS = {"grants", "key", "account", "index"}


def open_study_store(
    address: str | Path,
    base: Path,
    ward: WardRound,
    study: StudyId,
    signer: LocalAccount | None = None,
) -> Store:
    """Open a study's store.

    Args:
        address: as `open_store` takes it; or ``confidential:`` before it, or before the
            ``http://`` address of a gateway, and after it ``#grants=ADDRESS``, and with ``&``
            between, ``key=FILE`` (the reading key), ``account=FILE`` (the key that signs requests
            to a gateway; else the signer's) and ``index=FOLDER`` (where the store is no folder).
        base: where relative paths start.
        ward: the contract.
        study: the study.
        signer: the sponsor or a coordinator, if this process is to write.

    Raises:
        StoreError: no kind of store answers to this address.
        Malformed: a key's file is missing, or holds no key.
    """
    text = str(address)
    if not text.startswith(PREFIX):
        return open_store(_placed(text, base))
    where, _, after = text.removeprefix(PREFIX).partition("#")
    settings = dict(parse_qsl(after, strict_parsing=True)) if "=" in after else {}
    if not where or "grants" not in settings or not settings.keys() <= _SETTINGS:
        raise store_unknown(text)
    grants = Grants(ward.chain, address_of(settings["grants"]))
    reading = read_reading_key(base / settings["key"]) if "key" in settings else None
    account = read_key(base / settings["account"]) if "account" in settings else signer
    vault: Vault
    if where.startswith(("http://", "https://")):
        vault = GatewayVault(where, grants.domain, account, time.time)
    else:
        vault = local_vault(where, base, settings.get("index"))
    return ConfidentialStore(vault, ward, grants, study, reading, signer)


def local_vault(where: str, base: Path, index: str | None = None) -> LocalVault:
    """Open a vault over a content store.

    Raises:
        StoreError: no kind of store answers, or it is no folder and `index` names none.
    """
    store = open_store(_placed(where, base))
    if index is not None:
        return LocalVault(store, base / index)
    if not isinstance(store, FolderStore):
        raise store_unknown(where)
    return LocalVault(store, store.folder / INDEX_FOLDER)


def _placed(text: str, base: Path) -> str | Path:
    return text if re.match(r"[a-z][a-z0-9+.-]*://", text) else base / text
