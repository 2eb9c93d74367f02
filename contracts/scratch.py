"""A copy of the contracts to work on, for tools that clean, or change, what they work on."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: The build of everything, as in the Makefile.
WHOLE = ("--out", "out/whole", "--cache-path", "cache/whole")


@contextmanager
def scratch(*folders: str) -> Iterator[Path]:
    """Copy folders, the settings of forge and the compiler's launcher; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="wardround-contracts-") as name:
        copy = Path(name)
        for folder in folders:
            shutil.copytree(HERE / folder, copy / folder)
        for file in ("foundry.toml", "solc"):
            shutil.copy2(HERE / file, copy / file)
        (copy / "node_modules").symlink_to(HERE / "node_modules")
        yield copy


def with_forge(profile: str | None = None) -> dict[str, str]:
    """This process's environment, with forge on its path and one profile, whatever the caller's.

    Raises:
        SystemExit: forge is not installed.
    """
    # Not npm's own launcher in `.bin`: it ends with status 0 even when forge fails.
    forge = next((HERE / "node_modules" / "@foundry-rs").glob("forge-*/bin/forge*"), None)
    if forge is None:
        raise SystemExit("forge is missing: run `make setup` first.")
    # A profile of the caller's environment would change the bytecode.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FOUNDRY_")}
    environment["PATH"] = f"{forge.parent}{os.pathsep}{environment.get('PATH', '')}"
    if profile is not None:
        environment["FOUNDRY_PROFILE"] = profile
    return environment


def run_tool(
    command: list[str], folder: Path, profile: str | None = None, limit_seconds: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a tool that finds forge; its output and errors are in ``stdout``, in order."""
    return subprocess.run(
        command,
        cwd=folder,
        env=with_forge(profile),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=limit_seconds,
    )
