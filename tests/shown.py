"""What README.md and docs/ show: commands with their output, and pictures that a run made.

``python -m tests.shown [FILE...]`` runs every command of every ``console`` block again and puts
its output in its place; pictures are copied from the runs. A block's commands are the lines that
begin with ``$``, run one after the other by bash, in a folder that all blocks of a file share.
``<!-- lines: 6 2 -->`` above a block keeps the first six and the last two lines of its output;
``<!-- file: PATH -->`` above a block makes it a copy of a file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
#: Pictures in docs/images by the run's plot that they are copies of.
PICTURES = {
    "runs/demo/plots/accuracy.png": "demo-accuracy.png",
    "runs/four-hospitals/plots/accuracy.png": "four-hospitals-accuracy.png",
}
#: Characters a line, wide enough for a column a hospital.
COLUMNS = 108
_BLOCK = re.compile(
    r"(?:^<!-- lines: (?P<head>\d+) (?P<tail>\d+) -->\n)?"
    r"(?:^<!-- file: (?P<file>\S+) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_BETWEEN = "\x1e"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        start: where its text begins in the page.
        keep: lines of output kept at the beginning and at the end; None keeps all.
        file: what it is a copy of, if anything.
    """

    page: str
    line: int
    start: int
    language: str
    text: str
    keep: tuple[int, int] | None
    file: str | None

    @property
    def commands(self) -> list[str]:
        """What a reader types."""
        if self.language == "console":
            return [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]
        if self.language in ("sh", "bash"):
            return [line for line in self.text.splitlines() if line.strip()]
        return []


def blocks(page: str) -> Iterator[Block]:
    """Find a page's fenced blocks."""
    whole = (ROOT / page).read_text(encoding="utf-8")
    for match in _BLOCK.finditer(whole):
        keep = (int(match["head"]), int(match["tail"])) if match["head"] else None
        line = whole.count("\n", 0, match.start("text")) + 1
        start, language, text = match.start("text"), match["language"], match["text"]
        yield Block(page, line, start, language, text, keep, match["file"])


def run_block(block: Block, folder: Path) -> str:
    """Run a block's commands; return its text with their present output."""
    # `make demo` installs nothing new here: it is the command that it runs.
    real = [command.replace("make demo", "wardround simulate demo") for command in block.commands]
    script = "".join(f"{command}\nprintf '{_BETWEEN}'\n" for command in real)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": str(COLUMNS), "NO_COLOR": "1"}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    parts = []
    for command, output in zip(block.commands, done.stdout.split(_BETWEEN), strict=False):
        # Where standard error is no terminal, progress is a line each: not shown.
        lines = [line.rstrip() for line in output.splitlines() if not line.startswith("… ")]
        parts.append("\n".join([f"$ {command}", *_kept(lines, block.keep)]))
    return "\n".join(parts).strip("\n") + "\n"


def _kept(lines: list[str], keep: tuple[int, int] | None) -> list[str]:
    if keep is None or len(lines) <= sum(keep) + 1:
        return lines
    head, tail = keep
    return [*lines[:head], "…", *lines[len(lines) - tail :]]


def refresh(page: str, folder: Path) -> None:
    """Run a page's console blocks in order, and write their output into it; copy files."""
    found = [block for block in blocks(page) if block.language == "console" or block.file]
    texts = []
    for block in found:
        if block.file:
            texts.append((ROOT / block.file).read_text(encoding="utf-8"))
            continue
        print(f"{page}:{block.line}: {'; '.join(block.commands)}", file=sys.stderr)
        texts.append(run_block(block, folder))
    whole = (ROOT / page).read_text(encoding="utf-8")
    for block, text in reversed(list(zip(found, texts, strict=True))):
        whole = whole[: block.start] + text + whole[block.start + len(block.text) :]
    (ROOT / page).write_text(whole, encoding="utf-8")
    for made, name in PICTURES.items():
        if (folder / made).exists():
            shutil.copyfile(folder / made, ROOT / "docs" / "images" / name)


def main(pages: list[str]) -> None:
    """Refresh these pages, or all."""
    for page in pages or PAGES:
        with TemporaryDirectory(prefix="wardround-docs-") as folder:
            refresh(page, Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
