"""Imports go downward only, and the things that no layer may do.

The tables below are the rule. `faults_of` reads sources without running them; the second half of
the file breaks each rule in a small tree and sees that it is noticed.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.application import PACKAGES

ROOT = Path(__file__).resolve().parents[1]

# What each package may import of ours. Whoever is not named here may be imported by nobody.
BELOW: dict[str, frozenset[str]] = {
    "protocol": frozenset(),
    "contracts": frozenset(),
    "ledger": frozenset({"protocol", "contracts"}),
    "learning": frozenset({"protocol"}),
    "transport": frozenset({"protocol", "ledger"}),
    "client": frozenset({"protocol", "contracts", "ledger", "learning", "transport"}),
    "coordinator": frozenset({"protocol", "contracts", "ledger", "learning", "transport"}),
    "explorer": frozenset({"protocol", "contracts", "ledger", "learning"}),
    "simulations": frozenset(
        {
            "protocol",
            "contracts",
            "ledger",
            "learning",
            "transport",
            "client",
            "coordinator",
            "explorer",
        }
    ),
}
OURS = frozenset(BELOW) | {"wardround", "benchmarks", "tests"}

# The protocol is pure: numbers and bytes in, numbers and bytes out.
# fmt: off
INPUT_OUTPUT = frozenset({
    "aiohttp", "asyncio", "ftplib", "glob", "http", "httpx", "io", "ipfshttpclient",
    "logging", "mmap", "multiprocessing", "os", "pathlib", "random", "requests",
    "secrets", "select", "shutil", "signal", "socket", "socketserver", "sqlite3", "ssl",
    "subprocess", "tempfile", "threading", "time", "urllib", "urllib3", "websockets",
})
# fmt: on
ENGINES = frozenset({"torch", "flwr", "ray", "web3", "eth_tester", "eth", "sklearn", "pandas"})
FOREIGN: dict[str, frozenset[str]] = {
    "protocol": INPUT_OUTPUT | ENGINES,
    "contracts": ENGINES,
    "ledger": frozenset({"torch", "flwr", "ray", "sklearn", "pandas"}),
    "learning": frozenset({"flwr", "ray", "web3", "eth_tester", "eth"}),
    "transport": frozenset({"torch", "ray", "sklearn", "pandas"}),
}

# Each of these runs code that it finds in the data it reads.
UNPICKLERS = frozenset({"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve"})

# Flower and the user start here; below, time is an argument.
# fmt: off
ENTRY_POINTS = frozenset({
    "wardround.py", "client/client_app.py", "coordinator/server_app.py", "contracts/build.py",
    "client/site_commands.py", "coordinator/commands.py", "simulations/live/commands.py",
})
# fmt: on
CLOCKS = frozenset({"datetime.now", "datetime.utcnow", "datetime.today", "date.today"})


def sources_of(root: Path) -> Iterator[Path]:
    """Name every Python file of the packages, relative to the root."""
    found = [path for name in BELOW for path in (root / name).rglob("*.py")]
    found += [path for path in [root / "wardround.py"] if path.exists()]
    for path in sorted(found):
        if "node_modules" not in path.parts:
            yield path.relative_to(root)


def faults_of(root: Path) -> list[str]:
    """Read every source and list what breaks the rules, as `file:line: what`."""
    return [
        f"{path}:{line}: {what}"
        for path in sources_of(root)
        for line, what in faults_in(path, ast.parse((root / path).read_text("utf-8")))
    ]


def faults_in(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    package = path.parts[0].removesuffix(".py")
    allowed = BELOW.get(package, frozenset(BELOW)) | {package}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for module in imported_by(node, path):
            top = module.split(".")[0]
            if top in OURS and top not in allowed:
                yield line, f"{package} imports {top}"
            if top in FOREIGN.get(package, ()):
                yield line, f"{package} imports {top}"
            if top in UNPICKLERS:
                yield line, f"{top} runs code out of data"
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if package == "protocol" and name == "open":
                yield line, "protocol opens a file"
            if any(unpickles(name, keyword) for keyword in node.keywords):
                yield line, f"{name} may run code out of data"
            # `datetime.datetime.now` and `datetime.now` alike.
            if ".".join(name.split(".")[-2:]) in CLOCKS and path.as_posix() not in ENTRY_POINTS:
                yield line, f"{name} below an entry point: take the time as an argument"


def imported_by(node: ast.AST, path: Path) -> Iterator[str]:
    """Name the modules that a statement imports, in full; also those named in a call."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        if node.level == 0:
            yield node.module or ""
        else:
            # One dot is the file's own folder, each further dot one up.
            folder = path.parts[: len(path.parts) - node.level]
            yield ".".join([*folder, node.module or node.names[0].name])
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        value = node.args[0].value
        if isinstance(value, str) and ast.unparse(node.func) in {
            "__import__",
            "import_module",
            "importlib.import_module",
        }:
            yield value


def unpickles(name: str, keyword: ast.keyword) -> bool:
    """Whether a call's keyword allows pickles: numpy must say no, torch must say weights only."""
    value = keyword.value
    if keyword.arg == "allow_pickle":
        return not (isinstance(value, ast.Constant) and value.value is False)
    if keyword.arg == "weights_only" and name == "torch.load":
        return not (isinstance(value, ast.Constant) and value.value is True)
    return False


def test_sources_keep_to_their_layer() -> None:
    assert faults_of(ROOT) == []


def test_sources_are_all_read() -> None:
    packages = {path.parts[0] for path in sources_of(ROOT)}
    assert packages >= set(BELOW)
    tracked_beside = {
        path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "build"
    }
    assert tracked_beside <= OURS, "a new package needs its place in BELOW"


def test_protocol_loads_no_engine_when_imported() -> None:
    """What the sources do not show: an engine that comes in through someone else's package."""
    modules = ", ".join(
        ".".join(path.with_suffix("").parts)
        for path in sources_of(ROOT)
        if path.parts[0] == "protocol" and path.name != "__init__.py"
    )
    unwanted = sorted(ENGINES | (OURS - {"protocol"}))
    program = f"import sys, {modules}; print([n for n in {unwanted} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")


def reached_from(root: Path, start: Path) -> set[Path]:
    """Follow every import of ours from a file, also those within functions, to its end."""
    reached: set[Path] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        for node in ast.walk(ast.parse((root / path).read_text("utf-8"))):
            names = list(imported_by(node, path))
            if isinstance(node, ast.ImportFrom):
                names += [f"{names[0]}.{alias.name}" for alias in node.names]
            for name in names:
                waiting += files_of(root, name)
    return reached


def files_of(root: Path, module: str) -> Iterator[Path]:
    """The files that run when a module of ours is imported; none for what is no module."""
    parts = module.split(".")
    if parts[0] in OURS:
        for length in range(1, len(parts) + 1):
            path = Path(*parts[:length])
            for file in (path / "__init__.py", path.with_suffix(".py")):
                if (root / file).is_file():
                    yield file


def test_client_app_is_made_of_nothing_that_a_site_did_not_approve() -> None:
    """The digest that a site approves covers `PACKAGES`; what trains and asks to sign is in them.

    The contract's interface is not. No bundle may carry it (`transport.bundle`), so it comes from
    the site's own installation, as NumPy does.
    """
    start = Path("client/client_app.py")
    reached = reached_from(ROOT, start)
    assert len(reached) > 50
    outside = {path for path in reached if path.parts[0] not in PACKAGES}
    assert outside == {Path("contracts/__init__.py")}
    program = "import sys, client.client_app; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    loaded = {name for name in done.stdout.split() if name.split(".")[0] in OURS}
    assert "client.site" in loaded
    assert {name for name in loaded if name.split(".")[0] not in PACKAGES} == {"contracts"}
    assert {file for name in loaded for file in files_of(ROOT, name)} <= reached


def test_import_is_followed_into_functions_and_through_other_files(tmp_path: Path) -> None:
    sources = {
        "client/__init__.py": "",
        "client/client_app.py": "from client import site\n",
        "client/site.py": "def late():\n    from transport.bundle import read_bundle\n",
        "transport/__init__.py": "",
        "transport/bundle.py": "",
        "transport/flower.py": "",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    reached = reached_from(tmp_path, Path("client/client_app.py"))
    assert {str(path) for path in reached} == set(sources) - {"transport/flower.py"}


BROKEN = [
    ("protocol/rules.py", "import learning.models", "protocol imports learning"),
    ("protocol/rules.py", "from ledger import chain", "protocol imports ledger"),
    ("protocol/rules.py", "import torch", "protocol imports torch"),
    ("protocol/rules.py", "from flwr.app import Message", "protocol imports flwr"),
    ("protocol/rules.py", "from web3 import Web3", "protocol imports web3"),
    ("protocol/rules.py", "from pathlib import Path", "protocol imports pathlib"),
    ("protocol/rules.py", "def f():\n    import socket", "protocol imports socket"),
    ("protocol/rules.py", "data = open('x').read()", "protocol opens a file"),
    ("protocol/rules.py", "import wardround", "protocol imports wardround"),
    ("contracts/__init__.py", "import protocol", "contracts imports protocol"),
    ("ledger/chain.py", "import learning", "ledger imports learning"),
    ("ledger/store/base.py", "from ...learning import models", "ledger imports learning"),
    ("ledger/store/base.py", "from ... import client", "ledger imports client"),
    ("ledger/chain.py", "import flwr", "ledger imports flwr"),
    ("learning/training.py", "import contracts", "learning imports contracts"),
    ("learning/training.py", "from ledger import store", "learning imports ledger"),
    ("client/guard.py", "from coordinator.round import step", "client imports coordinator"),
    ("client/guard.py", "import simulations.grid", "client imports simulations"),
    ("coordinator/round.py", "from client import guard", "coordinator imports client"),
    ("coordinator/round.py", "import_module('simulations.grid')", "coordinator imports simulat"),
    ("explorer/index.py", "import coordinator", "explorer imports coordinator"),
    ("simulations/grid.py", "import wardround", "simulations imports wardround"),
    ("simulations/grid.py", "import benchmarks", "simulations imports benchmarks"),
    ("wardround.py", "from tests import vectors", "wardround imports tests"),
    ("client/guard.py", "import pickle", "pickle runs code"),
    ("simulations/grid.py", "from cloudpickle import loads", "cloudpickle runs code"),
    ("ledger/chain.py", "np.load(file, allow_pickle=True)", "np.load may run code"),
    ("ledger/chain.py", "np.load(file, allow_pickle=flag)", "np.load may run code"),
    ("learning/export.py", "torch.load(file, weights_only=False)", "torch.load may run code"),
    ("client/guard.py", "datetime.now(tz=UTC)", "take the time as an argument"),
    ("coordinator/round.py", "datetime.datetime.utcnow()", "take the time as an argument"),
]


@pytest.mark.parametrize(("file", "source", "fault"), BROKEN)
def test_fault_is_found_when_a_rule_is_broken(
    tmp_path: Path, file: str, source: str, fault: str
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source + "\n")
    (found,) = faults_of(tmp_path)
    assert found.startswith(f"{file}:")
    assert fault in found


KEPT = [
    ("ledger/store/folder.py", "from . import base\nfrom .. import chain\nfrom ..chain import x"),
    ("client/client_app.py", "import ledger.store\nfrom learning import models\ndatetime.now()"),
    ("simulations/grid.py", "import client, coordinator, learning, ledger, protocol, contracts"),
    ("wardround.py", "import simulations, client, coordinator\ndatetime.now()"),
    ("learning/table.py", "np.load(file, allow_pickle=False); torch.load(f, weights_only=True)"),
    ("protocol/study.py", "import tomllib, hashlib, numpy, pydantic, eth_keys, rfc8785"),
]


@pytest.mark.parametrize(("file", "source"), KEPT)
def test_no_fault_is_found_when_rules_are_kept(tmp_path: Path, file: str, source: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source + "\n")
    assert faults_of(tmp_path) == []
