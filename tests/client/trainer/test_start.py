from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wardround.host.sandbox.machine import Offer
from wardround.protocol.errors import SpecificationError
from wardround_client.home import Home
from wardround_client.settings import PolicyTable
from wardround_client.trainer.start import sandbox_of, sandbox_words

SETTINGS = """
[site]
name = "mercy"
keystore = "KEYSTORE"
[chain]
endpoints = ["http://127.0.0.1:8545"]
chain_id = 31337
contract = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
[data]
name = "patients"
"""
PREPARED = 'train = "a.npz"\ntest = "TEST"'
SOURCE = """
source = { SOURCE }
label = { column = "outcome", classes = [[0], [1]] }
features = [{ name = "age", type = "numeric" }]
"""
REQUIRED, NONE = PolicyTable(), PolicyTable(sandbox="none")
ALL = Offer(None, 7, seccomp=True)
CONTAINER = Offer("bwrap: No permissions to create a new namespace", 7, seccomp=True)
OLD_KERNEL = Offer(None, 0, seccomp=True)
NO_FILTER = Offer(None, 7, seccomp=False)
NOTHING = Offer("bubblewrap is not installed", 0, seccomp=False)


@pytest.mark.parametrize("offer", [ALL, CONTAINER, OLD_KERNEL])
def test_machine_that_offers_enough_is_taken(tmp_path: Path, offer: Offer) -> None:
    found = sandbox_of(Home(tmp_path), REQUIRED, offer)
    assert found.memory_bytes == 8 << 30
    wrapped = found.command("pass")[0] == "bwrap"
    assert wrapped == (offer is not CONTAINER)


@pytest.mark.parametrize("offer", [NO_FILTER, NOTHING])
def test_machine_that_offers_too_little_is_refused(tmp_path: Path, offer: Offer) -> None:
    with pytest.raises(SpecificationError, match=r"policy\.sandbox.* no sandbox") as caught:
        sandbox_of(Home(tmp_path), REQUIRED, offer)
    assert offer.words() in str(caught.value)


def test_machine_that_offers_nothing_is_taken_where_the_policy_says_so(tmp_path: Path) -> None:
    found = sandbox_of(Home(tmp_path), NONE, NOTHING)
    assert (found.program(), found.child()) == (None, None)
    assert found.command("pass")[0] != "bwrap"


def test_policy_none_puts_up_no_walls_where_there_could_be_some(tmp_path: Path) -> None:
    found = sandbox_of(Home(tmp_path), NONE, ALL)
    assert found.child() is None
    assert found.command("pass")[0] != "bwrap"


def test_home_among_the_packages_is_refused() -> None:
    inside = Path(sys.modules["numpy"].__file__ or "").parent
    with pytest.raises(SpecificationError, match="could read"):
        sandbox_of(Home(inside), REQUIRED, ALL)


@pytest.mark.parametrize("what", ["keystore.json", "training.secret", "noise"])
def test_link_from_the_home_to_a_folder_of_packages_is_refused(tmp_path: Path, what: str) -> None:
    shown = Path(sys.modules["numpy"].__file__ or "").parent
    (tmp_path / what).symlink_to(shown)
    with pytest.raises(SpecificationError, match=f"could read {shown.resolve()}: move"):
        sandbox_of(Home(tmp_path), REQUIRED, ALL)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("KEYSTORE", "SHOWN"),
        ("TEST", "SHOWN"),
        (PREPARED, SOURCE.replace("SOURCE", 'type = "csv", path = "SHOWN"')),
        (PREPARED, SOURCE.replace("SOURCE", 'type = "sql", table = "t", url = "sqlite:///SHOWN"')),
    ],
)
def test_key_and_tables_among_the_packages_are_refused(tmp_path: Path, old: str, new: str) -> None:
    shown = Path(sys.modules["numpy"].__file__ or "").resolve()
    text = (SETTINGS + PREPARED).replace(old, new).replace("SHOWN", str(shown))
    (tmp_path / "site.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SpecificationError, match=f"could read {shown}: move"):
        sandbox_of(Home(tmp_path), REQUIRED, ALL)


@pytest.mark.parametrize(
    ("policy", "offer", "words"),
    [
        (REQUIRED, ALL, "namespaces, Landlock 7, seccomp"),
        (REQUIRED, OLD_KERNEL, "namespaces, seccomp"),
        (REQUIRED, CONTAINER, "Landlock 7, seccomp (no namespaces: bwrap: No permissions"),
        (REQUIRED, NOTHING, "too little to train: none (no namespaces: bubblewrap is not"),
        (NONE, ALL, 'none, by [policy] sandbox = "none"'),
    ],
)
def test_words_name_what_is_in_force(policy: PolicyTable, offer: Offer, words: str) -> None:
    assert sandbox_words(policy, offer).startswith(words)


def test_environment_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARDROUND_SITE_PASSWORD", "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    found = sandbox_of(Home(tmp_path), REQUIRED, ALL)
    assert found.environment()["OMP_NUM_THREADS"] == "2"
    assert "secret" not in str([*found.environment().values(), *found.command("pass")])
