"""wardround from a wheel, in an environment without the checkout, beside folders of like names.

The environment takes what wardround needs from the one that runs the tests, so nothing is
downloaded; wardround itself comes from the wheel alone, which the first test checks.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path

import httpx
import pytest

from tests.integration.networks import FEATURES, small_scenario, toml_of
from tests.test_house import ROOT
from wardround.audit.folders import Folders
from wardround.devchain.anvil import find_anvil
from wardround_simulations.confidential import READING_KEY

LIMIT_SECONDS = 600
pytestmark = [pytest.mark.deep, pytest.mark.timeout(2 * LIMIT_SECONDS)]

#: Top-level names that wardround once used, here of another program.
FOREIGN = ("client", "coordinator", "explorer", "ledger", "learning", "protocol", "transport")
FLOWER_PROGRAMS = ("flower-", "flwr")
#: Two sites: each costs three processes in a network.
SCENARIO = small_scenario(
    study={"rounds": 2},
    data={"arguments": {"sites": 2, "rows": 40, "test_rows": 20, "features": FEATURES}},
)


@dataclass(frozen=True)
class Installation:
    """An environment with the wheel, and the folder in which its user works."""

    programs: Path
    work: Path

    def environment(self, **more: str) -> dict[str, str]:
        """What the user's shell has: no checkout, no tools of the tests."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(("FLWR_", "RAY_", "LANG", "LC_", "WARDROUND_DATA"))
        }
        own = {
            "HOME": str(self.work.parent / "home"),
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "COLUMNS": "120",
        }
        return {**kept, **own, **more}

    def run(self, *words: str, status: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in the user's folder."""
        done = subprocess.run(
            [self.programs / words[0], *words[1:]],
            cwd=self.work,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run([*build, "--directory", folder], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("wardround-*.whl")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    programs = folder / "env/bin"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    install = ["--python", programs / "python", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, *install, wheel], check=True)
    # A line of a .pth adds a folder behind the environment's own, and reads no .pth in it: so the
    # editable wardround there stays out.
    (packages,) = (folder / "env/lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for script in entry_points(group="console_scripts"):
        if script.name.startswith(FLOWER_PROGRAMS):
            program = programs / script.name
            program.write_text(
                f"#!{programs / 'python'}\nfrom {script.module} import {script.attr}\n"
                f"if __name__ == '__main__':\n    {script.attr}()\n"
            )
            program.chmod(0o755)
    work = folder / "work"
    for name in FOREIGN:
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text('raise RuntimeError("a program of others")\n')
    (work / "small.toml").write_text(toml_of(SCENARIO), encoding="utf-8")
    (folder / "home").mkdir()
    return Installation(programs, work)


@pytest.fixture(scope="module")
def models(installation: Installation) -> list[str]:
    """Models of the small scenario in process, on the embedded chain."""
    return simulate(installation, "alone")


@pytest.fixture(scope="module")
def demo(installation: Installation) -> str:
    """Folder of the demo's first round."""
    installation.run("wardround", "simulate", "demo", "--rounds", "1", "--out", "demo")
    return "demo"


@pytest.fixture
def anvil() -> str:
    return str(find_anvil())


def simulate(installation: Installation, out: str, *words: str, **more: str) -> list[str]:
    command = ["wardround", "simulate", "small.toml", "--json", "--out", out, *words]
    summary = json.loads(installation.run(*command, **more).stdout)  # one object, nothing else
    return [one["model"] for one in summary["rounds"]]


def assert_audited(installation: Installation, models: list[str], *words: str) -> None:
    """Audit from the wheel too, and find these models, round by round."""
    audit = installation.run("wardround", "audit", *words).stdout
    assert "All holds." in audit
    assert re.findall("|".join(model[:18] for model in models), audit) == [
        model[:18] for model in models
    ]


def test_everything_imports_from_the_wheel(installation: Installation) -> None:
    names = ("wardround", "wardround_client", "wardround_coordinator", "wardround_simulations")
    program = f"import {', '.join(names)}; print(*(m.__file__ for m in ({', '.join(names)})))"
    files = installation.run("python", "-c", program).stdout.split()
    packages = str(installation.programs.parent / "lib")
    assert len(files) == len(names)
    assert all(file.startswith(packages) for file in files)
    assert installation.run("wardround", "--version").stdout.startswith("wardround ")


def test_demo_and_audit_from_a_wheel(installation: Installation, demo: str) -> None:
    assert "All holds." in installation.run("wardround", "audit", demo).stdout
    assert "four-hospitals" in installation.run("wardround", "scenarios").stdout


@pytest.mark.parametrize("engine", ["ray", "flwr"])
def test_models_when_under_flowers_engines_are_those_in_process(
    installation: Installation, models: list[str], anvil: str, engine: str
) -> None:
    words = ["--engine", engine, "--chain", "anvil"]
    assert simulate(installation, engine, *words, WARDROUND_ANVIL=anvil) == models
    assert_audited(installation, models, engine)


def test_models_when_in_processes_with_an_encrypted_store_are_the_same(
    installation: Installation, models: list[str], anvil: str
) -> None:
    words = ["network", "up", "live", "--scenario", "small.toml", "--confidential"]
    installation.run("wardround", *words, WARDROUND_ANVIL=anvil)
    sealed = installation.run("wardround", "audit", "live", status=1)
    assert "encrypted" in sealed.stderr
    folders = Folders(Path("live"))
    for reader in (folders.auditor, folders.coordinator):
        key = str(reader / READING_KEY)
        assert_audited(installation, models, "live", "--reading-key", key)


def test_explorer_from_a_wheel_serves_pages_until_it_is_interrupted(
    installation: Installation, demo: str
) -> None:
    words = ["explore", demo, "--no-browser", "--port", "0"]
    with subprocess.Popen(
        [installation.programs / "wardround", *words],
        cwd=installation.work,
        env=installation.environment(),
        stdout=subprocess.PIPE,
        text=True,
        # What a shell starts in its background ignores SIGINT, and so would this child.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            assert process.stdout is not None
            found = re.fullmatch(r"explorer: (http://\S+)\n", process.stdout.readline())
            assert found
            page = httpx.get(found[1], timeout=60)
            style = httpx.get(httpx.URL(found[1]).join("/static/style.css"), timeout=60)
            assert (page.status_code, style.status_code) == (200, 200)
            assert "Accuracy by site" in page.text
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 130  # ended by an interrupt


def test_what_a_wheel_cannot_bring_is_named_with_its_command(
    installation: Installation, anvil: str
) -> None:
    words = ["simulate", "demo", "--out", "nothing", "--chain", "anvil", "--engine", "ray"]
    failed = installation.run("wardround", *words, status=1)
    assert "npm install --global @foundry-rs/anvil" in failed.stderr
    without_ray = (
        "import importlib.util as util; find = util.find_spec; "
        "util.find_spec = lambda name, *more: None if name == 'ray' else find(name, *more); "
        "from wardround.command_line import main; main()"
    )
    more = {"WARDROUND_ANVIL": anvil}
    failed = installation.run("python", "-c", without_ray, *words, status=1, **more)
    assert "pip install 'wardround[ray]'" in failed.stderr
