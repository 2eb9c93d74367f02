"""Templates become pages. Everything is escaped; nothing from chain or store is marked safe."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from wardround.chain.amounts import tokens_of
from wardround.explorer.rows import EventRow
from wardround.explorer.web import formats, urls, words
from wardround.protocol.reasons import REASONS

TEMPLATES = Path(__file__).parent / "templates"


@cache
def environment() -> Environment:
    """The templates' environment: autoescape for every file, unknown names are errors.

    All of them are compiled here, once: the first page would take longer otherwise.
    """
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals["url"] = urls
    made.filters.update(
        sentence=words.sentence,
        fields=words.fields,
        utc=formats.utc,
        iso=formats.iso,
        span=formats.span,
        tokens=lambda amount, decimals: tokens_of(int(amount), decimals),
        percent=formats.percent,
        between=formats.between,
        short=formats.short,
        share1=lambda share: f"{100 * share:.1f}",
        number1=lambda value: f"{value:.1f}",
        hex=lambda value: "0x" + bytes(value).hex(),
        words=lambda name: str(name).replace("_", " "),
        meaning=lambda word: REASONS[word].meaning if word in REASONS else "",
    )
    for name in made.list_templates():
        made.get_template(name)
    return made


def render(template: str, /, **values: Any) -> bytes:
    """Render a template, in UTF-8.

    Args:
        template: the file in ``templates/``.
        values: what it needs; `page`, `asked` and `index` may be left out.
    """
    known = {"page": "", "asked": "", "index": None, **values}
    # Half a surrogate pair, as JSON can hold one, has no UTF-8.
    return environment().get_template(template).render(known).encode("utf-8", "replace")


def event_row(event: EventRow) -> str:
    """One row of an event table, for pages that are open already."""
    module = environment().get_template("parts.html").module
    return str(module.event_row(event))  # type: ignore[attr-defined]  # a macro of the template
