"""Every error has a code of its own, and docs/errors.md lists them all.

After a change of errors, `python -m tests.test_errors` writes the page's table again.
"""

from __future__ import annotations

import ast
import re

from tests.test_house import ROOT
from tests.test_words import classes

PAGE = ROOT / "docs" / "errors.md"
MARK = "| code | class | meaning |\n|---|---|---|\n"


def product_errors() -> dict[str, ast.ClassDef]:
    """What derives from `WardroundError`, by name."""
    known = {name: at[0][1] for name, at in classes().items()}
    found = {"WardroundError": known["WardroundError"]}
    while True:
        more = {
            name: node
            for name, node in known.items()
            if {ast.unparse(base).split(".")[-1] for base in node.bases} & found.keys()
            and not name.startswith("_")
        }
        if more.keys() <= found.keys():
            return found
        found |= more


def code_of(node: ast.ClassDef) -> str | None:
    """The code that a class sets for itself."""
    for line in node.body:
        if isinstance(line, ast.Assign | ast.AnnAssign) and isinstance(line.value, ast.Constant):
            target = line.targets[0] if isinstance(line, ast.Assign) else line.target
            if isinstance(target, ast.Name) and target.id == "code":
                return str(line.value.value)
    return None


def table() -> str:
    """The rows of the page, by code."""
    rows = []
    for name, node in product_errors().items():
        code, meaning = code_of(node), (ast.get_docstring(node) or "").partition("\n\n")[0]
        retry = " Retryable." if "Retryable" in {ast.unparse(base) for base in node.bases} else ""
        if code is not None:
            rows.append(f"| `{code}` | `{name}` | {' '.join(meaning.split())}{retry} |\n")
    return "".join(sorted(rows))


def test_every_error_has_a_code_of_its_own() -> None:
    codes = {name: code_of(node) for name, node in product_errors().items()}
    given = [code for code in codes.values() if code is not None]
    assert len(given) == len(codes), codes
    assert sorted(set(given)) == sorted(given)
    assert all(re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", code) for code in given)


def test_page_lists_exactly_the_codes_there_are() -> None:
    _, _, rows = PAGE.read_text("utf-8").partition(MARK)
    assert rows == table(), "write it again: python -m tests.test_errors"


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text("utf-8").partition(MARK)[0] + MARK + table(), "utf-8")
