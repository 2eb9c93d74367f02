"""Imports go downward only, and the things that no layer may do.

The tables below are the rule. `faults_of` reads sources without running them; the second half of
the file breaks each rule in a small tree and sees that it is noticed.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from wardround.host.code import training_files

ROOT = Path(__file__).resolve().parents[1]

# From the bottom up: a room may import those of the lines above it, and none beside it.
STOREYS: tuple[tuple[str, ...], ...] = (
    ("wardround.protocol",),
    ("wardround.host",),
    ("wardround.learning",),
    ("wardround.chain",),
    ("wardround.devchain", "wardround.store"),
    ("wardround.audit", "wardround.transport"),
    ("wardround.explorer", "wardround.leak", "wardround_client", "wardround_coordinator"),
    ("wardround_simulations",),
    ("wardround.command_line",),
    ("wardround.__main__",),
)
ROOMS = frozenset(room for storey in STOREYS for room in storey)
BELOW: dict[str, frozenset[str]] = {
    room: frozenset(one for lower in STOREYS[:number] for one in lower)
    for number, storey in enumerate(STOREYS)
    for room in storey
} | {"contracts": frozenset()}
APPLICATIONS = ("client", "coordinator", "simulations")
OURS = frozenset({"wardround", *(f"wardround_{name}" for name in APPLICATIONS)}) | {
    "contracts",
    "benchmarks",
    "tests",
}

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
_NO_LEARNING = frozenset({"torch", "flwr", "ray", "sklearn", "pandas"})
FOREIGN: dict[str, frozenset[str]] = {
    "wardround.protocol": INPUT_OUTPUT | ENGINES,
    "wardround.host": ENGINES,
    "wardround.chain": _NO_LEARNING,
    "wardround.devchain": _NO_LEARNING,
    "wardround.store": _NO_LEARNING,
    "wardround.audit": _NO_LEARNING,
    "wardround.learning": frozenset({"flwr", "ray", "web3", "eth_tester", "eth"}),
    "wardround.transport": frozenset({"torch", "ray", "sklearn", "pandas"}),
    "wardround.leak": frozenset({"flwr", "ray", "pandas"}),
    "contracts": ENGINES,
}

# Each of these runs code that it finds in the data it reads.
UNPICKLERS = frozenset({"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve"})

# Flower and the user start here; below, time is an argument.
ENTRY_POINTS = frozenset(
    {
        "wardround/command_line.py",
        "client/wardround_client/app/client_app.py",
        "client/wardround_client/site_commands.py",
        "coordinator/wardround_coordinator/commands.py",
        "coordinator/wardround_coordinator/door.py",
        "coordinator/wardround_coordinator/server_app.py",
        "simulations/wardround_simulations/live/commands.py",
        "contracts/build.py",
    }
)
CLOCKS = frozenset({"datetime.now", "datetime.utcnow", "datetime.today", "date.today"})


def sources_of(root: Path) -> Iterator[Path]:
    """Name every Python file of the product, relative to the root."""
    folders = ["wardround", *(f"{one}/wardround_{one}" for one in APPLICATIONS), "contracts"]
    for path in sorted(path for name in folders for path in (root / name).rglob("*.py")):
        if "node_modules" not in path.parts:
            yield path.relative_to(root)


def module_of(path: Path) -> str:
    """Name the module in a file, relative to the root."""
    parts = path.with_suffix("").parts
    parts = parts[1:] if parts[0] in APPLICATIONS else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """Name the room that a module is in; the library's own name for the library's front."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "wardround" else parts[0]


def faults_of(root: Path) -> list[str]:
    """Read every source and list what breaks the rules, as `file:line: what`."""
    return [
        f"{path}:{line}: {what}"
        for path in sources_of(root)
        for line, what in faults_in(path, ast.parse((root / path).read_text("utf-8")))
    ]


def faults_in(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    room = room_of(module_of(path))
    allowed = BELOW.get(room, frozenset()) | {room}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for module in imported_by(node, path):
            top = module.split(".")[0]
            # `from wardround import chain` names its room last.
            names = [module]
            if module == "wardround" and isinstance(node, ast.ImportFrom):
                names = [f"wardround.{alias.name}" for alias in node.names]
            for found in sorted({room_of(name) for name in names}):
                if top in OURS and found not in allowed:
                    yield line, f"{room} imports {found}"
            if top in FOREIGN.get(room, ()):
                yield line, f"{room} imports {top}"
            if top in UNPICKLERS:
                yield line, f"{top} runs code out of data"
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if room == "wardround.protocol" and name == "open":
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
            inside = path.parts[1:] if path.parts[0] in APPLICATIONS else path.parts
            folder = inside[: len(inside) - node.level]
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
    """Whether a call's keyword allows pickles: numpy must forbid them, torch load weights only."""
    value = keyword.value
    if keyword.arg == "allow_pickle":
        return not (isinstance(value, ast.Constant) and value.value is False)
    if keyword.arg == "weights_only" and name == "torch.load":
        return not (isinstance(value, ast.Constant) and value.value is True)
    return False


def circle_in(root: Path) -> list[str]:
    """Name modules of ours that import each other in a circle, within functions too; or none."""
    modules = {module_of(path): path for path in sources_of(root)}
    imports: dict[str, set[str]] = {}
    for module, path in modules.items():
        found = imports[module] = set()
        for node in ast.walk(ast.parse((root / path).read_text("utf-8"))):
            for name in imported_by(node, path):
                names = [name]
                if isinstance(node, ast.ImportFrom):
                    inside = [f"{name}.{alias.name}" for alias in node.names]
                    names = [one if one in modules else name for one in inside]
                found.update(one for one in names if one in modules)
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle_in(ROOT) == []


def test_circle_is_found_through_functions_and_other_modules(tmp_path: Path) -> None:
    sources = {
        "wardround/store/base.py": "from wardround.store import folder\n",
        "wardround/store/folder.py": "from .vault import open_vault\n",
        "wardround/store/vault.py": "def late():\n    import wardround.store.base\n",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    circle = {f"wardround.store.{name}" for name in ("base", "folder", "vault")}
    assert set(circle_in(tmp_path)) == circle


def test_sources_keep_to_their_layer() -> None:
    assert faults_of(ROOT) == []


def test_every_room_has_its_storey() -> None:
    rooms = {room_of(module_of(path)) for path in sources_of(ROOT)} - {"wardround"}
    assert rooms == set(BELOW)


def test_protocol_loads_no_engine_when_imported() -> None:
    """What the sources do not show: an engine that comes in through someone else's package."""
    modules = [module_of(path) for path in sources_of(ROOT)]
    protocol = [name for name in modules if room_of(name) == "wardround.protocol"]
    program = (
        f"import sys, {', '.join(protocol)}\n"
        f"ours = [n for n in sys.modules if n.split('.')[0] in {sorted(OURS)}]\n"
        "other = [n for n in ours if n != 'wardround' and n.split('.')[1] != 'protocol']\n"
        f"print([n for n in {sorted(ENGINES)} if n in sys.modules], other)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[] []", "")


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
        above = parts[0].removeprefix("wardround_")
        top = Path(above) if above in APPLICATIONS else Path()
        for length in range(1, len(parts) + 1):
            path = top.joinpath(*parts[:length])
            for file in (path / "__init__.py", path.with_suffix(".py")):
                if (root / file).is_file():
                    yield file


def digested(path: Path) -> bool:
    """Whether the code digest covers a file."""
    name = path.as_posix().removeprefix("client/")
    return name in training_files()


def test_trainer_trains_with_nothing_that_a_site_did_not_approve() -> None:
    """The digest that a site approves covers what trains.

    What else it imports decides nothing of an update: errors, and files on disk.
    """
    start = Path("client/wardround_client/trainer/work.py")
    reached = reached_from(ROOT, start)
    assert len(reached) > 50
    others = {room_of(module_of(path)) for path in reached if not digested(path)}
    assert others == {"wardround.host"}
    program = "import sys, wardround_client.trainer.work; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    loaded = {name for name in done.stdout.split() if name.split(".")[0] in OURS}
    assert "wardround.learning.training" in loaded
    assert {file for name in loaded for file in files_of(ROOT, name)} <= reached


SUPERNODE = Path("client/wardround_client/supernode.py")


def test_courier_trains_nothing() -> None:
    """The process that speaks to the coordinator does not load what trains or decides."""
    courier = Path("client/wardround_client/app/client_app.py"), SUPERNODE
    names = {module_of(path) for one in courier for path in reached_from(ROOT, one)}
    assert "wardround_client.guard.client" in names
    beyond = (
        "wardround.learning.training",
        "wardround.learning.models",
        "wardround_client.guard.guard",
        "wardround_client.guard.tables",
        "wardround_client.sources.prepare",
        "wardround_client.trainer",
    )
    assert not [name for name in names if name.startswith(beyond)]


def test_import_is_followed_into_functions_and_through_other_files(tmp_path: Path) -> None:
    late = "def late():\n    from wardround.transport.bundle import read_bundle\n"
    sources = {
        "client/wardround_client/__init__.py": "",
        "client/wardround_client/app/client_app.py": "from wardround_client.app import other\n",
        "client/wardround_client/app/other.py": late,
        "wardround/transport/__init__.py": "",
        "wardround/transport/bundle.py": "",
        "wardround/transport/ports.py": "",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    reached = reached_from(tmp_path, Path("client/wardround_client/app/client_app.py"))
    assert {str(path) for path in reached} == set(sources) - {"wardround/transport/ports.py"}


RULES = "wardround/protocol/rules.py"
CHAIN = "wardround/chain/chain.py"
STORE = "wardround/store/base.py"
SITE = "client/wardround_client/guard/process.py"
ROUND = "coordinator/wardround_coordinator/round.py"
GRID = "wardround/transport/flower/grid.py"
RUN = "simulations/wardround_simulations/run.py"
BROKEN = [
    (RULES, "import wardround.learning.models", "protocol imports wardround.learning"),
    (RULES, "from wardround import chain", "protocol imports wardround.chain"),
    (RULES, "import torch", "protocol imports torch"),
    (RULES, "from flwr.app import Message", "protocol imports flwr"),
    (RULES, "from web3 import Web3", "protocol imports web3"),
    (RULES, "from pathlib import Path", "protocol imports pathlib"),
    (RULES, "def f():\n    import socket", "protocol imports socket"),
    (RULES, "data = open('x').read()", "protocol opens a file"),
    (RULES, "import wardround.command_line", "protocol imports wardround.command_line"),
    ("contracts/build.py", "import wardround.protocol", "contracts imports wardround.protocol"),
    (CHAIN, "import wardround.store.base", "chain imports wardround.store"),
    (CHAIN, "import wardround.devchain", "chain imports wardround.devchain"),
    (STORE, "from ...wardround.audit import audit", "store imports wardround.audit"),
    (STORE, "from ..audit import audit", "store imports wardround.audit"),
    (STORE, "import wardround.devchain.anvil", "store imports wardround.devchain"),
    (CHAIN, "import flwr", "chain imports flwr"),
    ("wardround/learning/training.py", "import contracts", "learning imports contracts"),
    (
        "wardround/learning/training.py",
        "from wardround import store",
        "learning imports wardround.s",
    ),
    (SITE, "from wardround_coordinator.round import step", "client imports wardround_coordinator"),
    (SITE, "import wardround_simulations.run", "client imports wardround_simulations"),
    (ROUND, "from wardround_client import guard", "coordinator imports wardround_client"),
    (ROUND, "import_module('wardround_simulations.run')", "coordinator imports wardround_simulat"),
    (
        "wardround/explorer/search.py",
        "import wardround_coordinator",
        "explorer imports wardround_c",
    ),
    (GRID, "import wardround_client", "transport imports wardround_client"),
    (RUN, "import wardround.command_line", "simulations imports wardround.command_line"),
    (RUN, "import benchmarks", "simulations imports benchmarks"),
    ("wardround/command_line.py", "from tests import vectors", "command_line imports tests"),
    (SITE, "import pickle", "pickle runs code"),
    (GRID, "from cloudpickle import loads", "cloudpickle runs code"),
    (CHAIN, "np.load(file, allow_pickle=True)", "np.load may run code"),
    (CHAIN, "np.load(file, allow_pickle=flag)", "np.load may run code"),
    (CHAIN, "torch.load(file, weights_only=False)", "torch.load may run code"),
    (SITE, "datetime.now(tz=UTC)", "take the time as an argument"),
    (ROUND, "datetime.datetime.utcnow()", "take the time as an argument"),
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
    (STORE, "from . import folder\nfrom .. import chain\nfrom ..chain import x"),
    ("client/wardround_client/app/client_app.py", "import wardround.store\ndatetime.now()"),
    (RUN, "import wardround_client, wardround_coordinator, wardround.explorer, wardround.protocol"),
    ("wardround/command_line.py", "import wardround_simulations, wardround_client\ndatetime.now()"),
    (CHAIN, "np.load(file, allow_pickle=False); torch.load(f, weights_only=True)"),
    (RULES, "import tomllib, hashlib, numpy, pydantic, eth_keys, rfc8785"),
]


@pytest.mark.parametrize(("file", "source"), KEPT)
def test_no_fault_is_found_when_rules_are_kept(tmp_path: Path, file: str, source: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source + "\n")
    assert faults_of(tmp_path) == []
