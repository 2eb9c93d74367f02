"""What is true of the whole repository: what is in it, what is not, and what is stated once."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIMIT_BYTES = 500 * 1024

# A key is 64 hexadecimal digits, and so is a digest: what tells them apart is what it is called.
FORBIDDEN = {
    "an absolute path of one machine": re.compile(
        r"(?<![\w.])/(?:root|work|home/\w+|Users/\w+|opt/\w+)/\w"
    ),
    "the host of a package registry": re.compile(
        r"\b(?:pypi|pythonhosted|npmjs|yarnpkg|debian|anaconda)\.(?:org|com|io)\b"
    ),
    "a private key": re.compile(
        r"-----BEGIN[A-Z ]* PRIVATE KEY-----"
        r"|(?i:(?:private|secret|signing|site)[_ -]?keys?\b)[^\n]{0,40}?\b(?:0x)?[0-9a-fA-F]{64}\b"
    ),
    "a folder outside the repository": re.compile(r"\.\./shared\b"),
}
# CI looks there for the hospitals' files; nothing else knows of it.
ALLOWED = {("a folder outside the repository", ".ci/run")}


@cache
def tracked() -> tuple[str, ...]:
    """Name the files that git keeps, or skip the test in a copy without its history."""
    try:
        done = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return tuple(name for name in done.stdout.split("\0") if name and (ROOT / name).is_file())


def text_of(name: str) -> str:
    return (ROOT / name).read_bytes().decode("utf-8", "replace")


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_holds(what: str) -> None:
    found = [
        f"{name}: {match.group()[:60]}"
        for name in tracked()
        if (what, name) not in ALLOWED
        for match in FORBIDDEN[what].finditer(text_of(name))
    ]
    assert found == []


# Put together here, so that this file holds none of it.
SAMPLES = [
    ("an absolute path of one machine", 'DATA = "' + "/".join(["", "home", "ann", "data"]) + '"'),
    ("an absolute path of one machine", "see " + "/".join(["", "root", "x"])),
    ("the host of a package registry", "https://" + "registry.npmjs" + ".org/solc"),
    ("the host of a package registry", "files.pythonhosted" + ".org"),
    ("a private key", "-----BEGIN EC " + "PRIVATE KEY-----"),
    ("a private key", "PRIVATE_KEY" + ' = "0x' + "ab" * 32 + '"'),
    ("a private key", '"privateKey' + '": "' + "4C" * 32 + '"'),
    ("a folder outside the repository", "cat ../" + "shared/x"),
]


@pytest.mark.parametrize(("what", "text"), SAMPLES)
def test_forbidden_text_is_found_when_there(what: str, text: str) -> None:
    assert FORBIDDEN[what].search(text)


@pytest.mark.parametrize("what", FORBIDDEN)
def test_plain_text_is_no_fault(what: str) -> None:
    plain = f'root = "0x{"ab" * 32}"  # see docs/work' + "/x and https://example.org/" + "home/x"
    assert not FORBIDDEN[what].search(plain)


def test_tracked_files_are_small() -> None:
    sizes = {name: (ROOT / name).stat().st_size for name in tracked()}
    assert {name: size for name, size in sizes.items() if size >= LIMIT_BYTES} == {}


def test_every_make_target_is_in_help() -> None:
    makefile = text_of("Makefile")
    targets = set(re.findall(r"^([a-z][\w-]*):(?!=)", makefile, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony
    assert set(phony.group(1).split()) == targets
    done = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    described = dict(re.findall(r"^  make (\S+) +(\S.*)$", done.stdout, re.MULTILINE))
    assert described.keys() == targets
    assert {"help", "setup", "demo", "test", "check", "bench", "clean"} <= targets


def test_scripts_start_forge_itself() -> None:
    """npm's launcher in `.bin` ends with status 0 even when forge fails: failures would pass."""
    scripts = [name for name in tracked() if name in {"Makefile", ".ci/run"} or "build" in name]
    assert "contracts/build.py" in scripts
    assert [name for name in scripts if re.search(r"\.bin\W+(forge|cast)", text_of(name))] == []


def test_changelog_has_an_unreleased_block_first() -> None:
    headings = re.findall(r"^## (.+)$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    for heading in headings[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", heading), heading


def test_version_is_written_once() -> None:
    version = tomllib.loads(text_of("pyproject.toml"))["project"]["version"]
    alone = re.compile(rf"(?<![\w.=]){re.escape(version)}(?![\w.])")
    holders = [
        name
        for name in tracked()
        if name.endswith((".py", ".toml", "package.json")) and alone.search(text_of(name))
    ]
    assert holders == ["pyproject.toml"]


def test_constraints_are_exact_and_bind_what_the_package_names() -> None:
    lines = [line for line in text_of("constraints.txt").splitlines() if not line.startswith("#")]
    pinned = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9a-z.]*)", line)
        assert match, f"not an exact, public version: {line}"
        pinned[plain_name(match[1])] = match[2]
    assert len(pinned) == len(lines), "a package is named twice"
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    named = {plain_name(re.split(r"[^\w.-]", entry)[0]) for group in groups for entry in group}
    assert named <= pinned.keys()


def test_npm_lock_names_every_platform_of_foundry() -> None:
    """`npm ci` refuses a lock file without them, and npm leaves out those it could not reach."""
    packages = json.loads(text_of("contracts/package-lock.json"))["packages"]
    wanted = {
        f"node_modules/{name}"
        for package in packages.values()
        for name in package.get("optionalDependencies", {})
    }
    assert wanted
    assert wanted <= packages.keys()


def plain_name(name: str) -> str:
    """Spell a distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
