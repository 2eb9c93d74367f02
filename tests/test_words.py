"""How the project speaks: one name per concept, one concept per name, and plain words."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.test_house import ROOT, text_of, tracked

#: Words behind which a sentence hides who does what. A ratchet: only ever lower it.
LISTED = re.compile(
    r"\b(whoever|somebody|anybody|nobody|told|say|says|said|anew|stands)\b", re.IGNORECASE
)
LISTED_PER_THOUSAND = 0.5
#: What callers tell apart. A ratchet as well.
ERRORS_MAX = 64
CLASS_TWICE_MAX = 0


def sources() -> Iterator[str]:
    """Name the Python files of the product."""
    yield from (
        name
        for name in tracked()
        if name.endswith(".py") and not name.startswith(("tests/", "benchmarks/"))
    )


def classes() -> dict[str, list[tuple[str, ast.ClassDef]]]:
    """Where each class of the product is, by its name."""
    found: dict[str, list[tuple[str, ast.ClassDef]]] = defaultdict(list)
    for name in sources():
        for node in ast.walk(ast.parse(text_of(name))):
            if isinstance(node, ast.ClassDef):
                found[node.name].append((name, node))
    return found


def errors() -> dict[str, ast.ClassDef]:
    """Every exception class, by name."""
    known = {name: at[0][1] for name, at in classes().items()}
    found: dict[str, ast.ClassDef] = {}
    roots = {"Exception", "ValueError", "RuntimeError", "OSError", "KeyError", "TypeError"}
    while True:
        more = {
            name: node
            for name, node in known.items()
            if {ast.unparse(base).split(".")[-1] for base in node.bases} & (roots | set(found))
        }
        if more.keys() == found.keys():
            return found
        found = more


def prose(name: str) -> str:
    """Docstrings and comments of a Python file, or the text of a page; nothing in backticks."""
    text = text_of(name)
    if name.endswith(".md"):
        return re.sub(r"`[^`]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    parts = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            parts.append(ast.get_docstring(node) or "")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            parts.append(token.string)
    return re.sub(r"`[^`]*`", "", "\n".join(parts))


def test_no_class_name_is_used_twice() -> None:
    twice = {name: [at for at, _ in found] for name, found in classes().items() if len(found) > 1}
    assert len(twice) <= CLASS_TWICE_MAX, twice


def test_errors_are_those_that_callers_tell_apart() -> None:
    assert len(errors()) <= ERRORS_MAX, sorted(errors())


def test_prose_says_who_does_what() -> None:
    words = hits = 0
    for name in tracked():
        if Path(name).suffix in {".py", ".md"} and name != "CHANGELOG.md":
            text = prose(name)
            words += len(re.findall(r"[A-Za-z']+", text))
            hits += len(LISTED.findall(text))
    assert words > 50_000
    assert 1000 * hits / words <= LISTED_PER_THOUSAND, f"{hits} in {words} words"


def test_every_package_is_read() -> None:
    tops = {name.split("/")[0] for name in sources()}
    assert tops == {"wardround", "client", "coordinator", "simulations", "contracts"}
    assert (ROOT / "wardround").is_dir()
