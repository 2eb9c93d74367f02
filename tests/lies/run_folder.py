"""Lies in the files of a run's folder, made from the files themselves, so that none is left out.

Each field of each file becomes another one: alone, and along with every other place that states the
same value, such as the summary, the file's digest, or a total.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wardround.audit.finished import NetworkFile, note_journal
from wardround.audit.folders import Folders
from wardround.devchain.journal_lines import FIRST, sealed

#: A place in a file's value: keys and positions, from the outermost on.
Place = tuple[Any, ...]

ABSENT = object()
_HEX_ID = re.compile(r"0x[0-9a-fA-F]{40,}")
_NUMBERED = re.compile(r"-\d+$")
_CID = re.compile(r"baf[a-z0-9]{40,}")
#: Places in the folder whose files are each party's own, which no reader is given.
PRIVATE = (
    "auditor/", "chain/", "coordinator/", "logs/", "passwords/", "sites/", "standby-",
    "simulation.key", "sponsor.key", "sponsor-reading.key",
)  # fmt: skip


@dataclass(frozen=True)
class FolderLie:
    """A change of a run's folder, that an audit must name or list as not checked.

    Attributes:
        file: the file, as it is called in the folder.
        field: the field in it, dotted; None for the file as a whole.
        how: what the field becomes.
        tell: makes the change in a copy of the folder.
        words: what an error may name in place of the file: the value, or what contradicts it.
    """

    file: str
    field: str | None
    how: str
    tell: Callable[[Path], None]
    words: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What is changed, and how."""
        return f"{self.file}: {self.field or 'the whole'}: {self.how}"

    def is_listed(self, unchecked: list[str]) -> bool:
        """Whether an audit's lines on what it did not check cover it.

        A line is ``FILES: WORDS``. It covers a file that it names, or a folder of it; where the
        words list fields, only these.
        """
        for line in unchecked:
            names, _, words = line.partition(": ")
            file = self.file
            if file == "summary.json" and (self.field or "").startswith("rounds.[]."):
                file = "rounds.jsonl"
            if not any(file == name or file.startswith(f"{name}/") for name in names.split(", ")):
                continue
            if names not in LISTS_FIELDS or words.startswith("not there"):
                return True
            if self.field is None:
                continue
            keys = set(re.split(r"[\s,:;]+", words))
            parts = [part for part in self.field.split(".") if part not in ("*", "[]")]
            if parts[:1] == ["rounds"]:
                parts = parts[1:]
            if any(".".join(parts[:end]) in keys for end in range(1, len(parts) + 1)):
                return True
        return False


#: Files of which only some fields are not checked; the audit lists these.
LISTS_FIELDS = {"journal.jsonl", "network.json", "rounds.jsonl", "summary.json"}


def kind_of(path: Path, folder: Path) -> str:
    """What a file is: its name, with a star for each site's, object's or round's own part."""
    *parents, name = path.relative_to(folder).parts
    for place, part in enumerate(parents):
        if part.startswith("flower"):
            # Flower's own: its state, and the applications that it has unpacked.
            return "/".join([*map(_numbered, parents[:place]), "flower/*"])
    parents = [*map(_numbered, parents)]
    stem, dot, suffix = name.partition(".") if not name.startswith("0x") else ("", "", "")
    if _CID.fullmatch(name):
        name = "CID"
    elif name.startswith("0x"):
        name = "*." + name.rpartition(".")[2]
    elif re.match(r"rings-[0-9a-f]{64}$", name):
        name = "rings-*"
    else:
        name = _numbered(stem) + dot + suffix
    return "/".join([*parents, name])


def _numbered(part: str) -> str:
    return _NUMBERED.sub("-*", part)


def kinds_of(folder: Path) -> dict[str, list[Path]]:
    """Every file of a folder, by its kind."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            kinds.setdefault(kind_of(path, folder), []).append(path.relative_to(folder))
    return kinds


# ---------------------------------------------------------------- values of files


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _write_lines(path: Path, values: list[Any]) -> None:
    text = "".join(json.dumps(one, sort_keys=True) + "\n" for one in values)
    path.write_text(text, "utf-8")


def _toml_of(value: dict[str, Any]) -> str:
    def inline(inner: Any) -> str:
        if isinstance(inner, dict):
            return "{ " + ", ".join(f'"{k}" = {inline(v)}' for k, v in inner.items()) + " }"
        if isinstance(inner, list):
            return "[" + ", ".join(map(inline, inner)) + "]"
        return json.dumps(inner)

    return "".join(f'"{key}" = {inline(inner)}\n' for key, inner in value.items())


def _header(path: Path) -> Any:
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def _write_header(path: Path, value: Any) -> None:
    data = path.read_bytes()
    text = json.dumps(value).encode()
    rest = data[8 + int.from_bytes(data[:8], "little") :]
    path.write_bytes(len(text).to_bytes(8, "little") + text + rest)


def _write_journal(path: Path, values: Any) -> None:
    """Write a journal whose digests follow."""
    digest, text = FIRST, b""
    for value in values if isinstance(values, list) else [values]:
        document = value
        if isinstance(value, dict):
            document = {key: one for key, one in value.items() if key != "digest"}
            line, digest = sealed(document, digest)
        else:
            line = json.dumps(document).encode() + b"\n"
        text += line
    path.write_bytes(text)


def read_value(path: Path) -> Any:
    """A file's value; KeyError for a file of bytes.

    Raises:
        KeyError: no reader is known for such files: add one, or name it in `BYTES`.
    """
    kind = path.suffix or path.name
    if path.name == "journal.jsonl" or kind in (".jsonl", ".log"):
        return _lines(path)
    if kind == ".safetensors":
        return _header(path)
    if kind == ".toml":
        return tomllib.loads(path.read_text("utf-8"))
    if kind == ".json":
        return json.loads(path.read_text("utf-8"))
    raise KeyError(f"no reader of {path.name}")


def write_value(path: Path, value: Any) -> None:
    """Write a file's value in the form that `read_value` reads."""
    if path.name == "journal.jsonl":
        _write_journal(path, value)
    elif path.suffix in (".jsonl", ".log"):
        _write_lines(path, value)
    elif path.suffix == ".safetensors":
        _write_header(path, value)
    elif path.suffix == ".toml":
        path.write_text(_toml_of(value), "utf-8")
    else:
        path.write_text(json.dumps(value, indent=1), "utf-8")


#: Of which a folder may be handed on without: they state nothing about the study.
KEPT_BY_CHOICE = {"scenario.toml"}
#: What is named where one of two places has to be wrong.
CONTRADICTED_BY = {
    ("network.json", "grants"): ("nothing in its store is encrypted",),
    ("network.json", "journal"): ("journal.jsonl",),
    ("network.json", "protocol"): ("this run was made by protocol",),
    ("network.json", "sites"): ("rounds.jsonl",),
}
#: Files without fields.
BYTES = {".npz", ".pdf", ".pem", ".png", ".key", ".lock", ".secret", ".svg", ".txt", "CID"}


# ---------------------------------------------------------------- fields


def fields_of(value: Any, names: frozenset[str]) -> dict[str, Place]:
    """Every field of a file's value, dotted, with the first place that has it.

    Args:
        value: the file's; of a file of lines, a list of them.
        names: keys that are sites' and not fields.
    """
    found: dict[str, Place] = {}

    def walk(inner: Any, dotted: str, place: Place) -> None:
        if dotted:
            found.setdefault(dotted, place)
        if isinstance(inner, dict):
            for key, below in inner.items():
                part = "*" if key in names or _HEX_ID.fullmatch(key) else key
                walk(below, f"{dotted}.{part}".lstrip("."), (*place, key))
        elif isinstance(inner, list):
            for at, below in enumerate(inner):
                walk(below, f"{dotted}.[]".lstrip("."), (*place, at))

    walk(value, "", ())
    return found


def at(value: Any, place: Place) -> Any:
    for part in place:
        value = value[part]
    return value


def changed(value: Any, place: Place, new: Any) -> Any:
    """A copy of a value with another one at a place."""
    if not place:
        return new
    value = deepcopy(value)
    *outer, last = place
    inside = at(value, tuple(outer))
    if new is ABSENT:
        del inside[last]
    else:
        inside[last] = new
    return value


def others(value: Any) -> Iterator[tuple[str, Any]]:
    """What a field may become: near what it was, of another type, and none."""
    if isinstance(value, bool):
        yield "the other", not value
        yield "a number", int(value)
    elif isinstance(value, int):
        yield "one more", value + 1
        yield "below zero", -1 - value
        yield "a fraction", float(value)
        yield "as text", str(value)
    elif isinstance(value, float):
        yield "another", value / 2 + 0.125
        yield "out of range", 5.0
        yield "no number", float("nan")
    elif isinstance(value, str) and _HEX_ID.fullmatch(value):
        yield "another", value[:-1] + ("1" if value[-1] == "0" else "0")
        yield "cut", value[:-2]
    elif isinstance(value, str) and value.isdecimal():
        yield "one more", str(int(value) + 1)
        yield "a zero before", "0" + value
    elif isinstance(value, str):
        yield "longer", value + "x"
        # Cyrillic, which looks alike.
        yield "look-alike", value.replace("a", "а").replace("e", "е") + "\u200b"
    elif isinstance(value, list):
        yield "empty", []
        yield "with one twice", [*value, *value[-1:]] if value else [0]
    elif isinstance(value, dict):
        yield "empty", {}
        yield "with one more", {**value, "more": 1}
    yield "null", None if value is not None else 0
    yield "absent", ABSENT


# ---------------------------------------------------------------- along with it


def _along(folder: Path, name: str, place: Place, old: Any, new: Any) -> None:
    """Change every other place of the folder that states the same value."""
    folders = Folders(folder)
    if isinstance(old, str) and isinstance(new, str) and _HEX_ID.fullmatch(old):
        _replace_everywhere(folder, old, new)
    if name == "rounds.jsonl":
        _mirror(folders.summary, ("rounds", *place), new)
        number, *rest = place
        count = len(_lines(folders.rounds))
        if number == count - 1 and len(rest) == 1:
            _mirror(folders.summary, ("final", rest[0]), new)
        if rest[:1] == ["rewards"] and len(rest) == 2 and isinstance(new, str):
            summary = json.loads(folders.summary.read_text("utf-8"))
            sites = json.loads(folders.network.read_text("utf-8"))["sites"]
            earned, site = summary["final"]["earned"], sites[rest[1]].lower()
            earned[site] = str(int(earned[site]) + int(new) - int(old))
            write_value(folders.summary, summary)
    elif name == "summary.json" and place[:1] == ("rounds",) and len(place) > 1:
        _mirror(folders.rounds, place[1:], new)
    elif name in ("network.json", "summary.json") and place[-1] in ("scenario", "chain_id"):
        for path in (folders.network, folders.summary):
            _mirror(path, place, new)
        if place == ("chain_id",):
            _mirror(folders.model(sealed=False), ("__metadata__", "chain_id"), str(new))
        else:
            _mirror(folder / "scenario.toml", ("study", "name"), new)


def _mirror(path: Path, place: Place, new: Any) -> None:
    with suppress(OSError, LookupError, TypeError, ValueError):
        write_value(path, changed(read_value(path), place, new))


def _replace_everywhere(folder: Path, old: str, new: str) -> None:
    digits = re.compile(re.escape(old[2:]).encode(), re.IGNORECASE)
    names = ["network.json", "rounds.jsonl", "summary.json", "events.jsonl"]
    for path in (folder / one for one in (*names, "model.safetensors")):
        if path.exists():
            data = path.read_bytes()
            if path.suffix == ".safetensors" and len(old) != len(new):
                continue
            path.write_bytes(digits.sub(new[2:].encode(), data))


def has_companions(name: str, field: str, value: Any) -> bool:
    """Whether other files of the folder state the same value."""
    if isinstance(value, str) and _HEX_ID.fullmatch(value):
        return name in ("network.json", "summary.json", "rounds.jsonl", "events.jsonl")
    if name == "rounds.jsonl":
        return True
    if name == "summary.json" and field.startswith("rounds.[]"):
        return True
    return name in ("network.json", "summary.json") and field in ("scenario", "chain_id")


# ---------------------------------------------------------------- all of them


def lies_in(folder: Path, kind: str, paths: list[Path]) -> Iterator[FolderLie]:
    """Lies about one kind of file, in the first file of it.

    Raises:
        KeyError: it is not known how such a file is read.
    """
    name = paths[0].as_posix()
    private = name.startswith(PRIVATE) and not name.endswith("model.safetensors")
    yield from _whole(name, private)
    # Of a network's processes, logs are words.
    words = private and "logs" in paths[0].parts
    if kind.endswith(("CID", "flower/*", "rings-*")) or words or paths[0].suffix in BYTES:
        return
    network = json.loads((folder / "network.json").read_text("utf-8"))
    value = read_value(folder / name)
    for field, new in _optional(folder, name, value).items():
        yield FolderLie(name, field, "there", _change(name, (field,), ABSENT, new, along=False))
    for field, place in fields_of(value, frozenset(network["sites"])).items():
        old = at(value, place)
        for how, new in others(old):
            if new == old or (new is ABSENT and not isinstance(place[-1], str)):
                continue
            said: tuple[str, ...] = (new,) if isinstance(new, str) and len(new) > 3 else ()
            said += CONTRADICTED_BY.get((name, field.partition(".")[0]), ())
            yield FolderLie(name, field, how, _change(name, place, old, new, along=False), said)
            if private:
                break  # nothing in it is read: one is enough
            if has_companions(name, field, old):
                yield FolderLie(
                    name,
                    field,
                    f"{how}, and wherever else it is",
                    _change(name, place, old, new, along=True),
                    said,
                )


def _optional(folder: Path, name: str, value: Any) -> dict[str, Any]:
    """Fields that a file of this form may have, and this one has not."""
    if name != "network.json":
        return {}
    return {key: "0x" + "12" * 20 for key in NetworkFile.model_fields if key not in value}


def _change(name: str, place: Place, old: Any, new: Any, *, along: bool) -> Callable[[Path], None]:
    def tell(folder: Path) -> None:
        path = folder / name
        value = changed(read_value(path), place, new)
        if name == "journal.jsonl" and place[-1] == "digest":
            _write_lines(path, value)
        else:
            write_value(path, value)
        if along:
            _along(folder, name, place, old, new)
        if name == "journal.jsonl":
            with suppress(Exception):
                note_journal(Folders(folder))

    return tell


def _whole(name: str, private: bool) -> Iterator[FolderLie]:
    def bit(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes() or b"\0")
        data[len(data) * 2 // 3] ^= 4
        (folder / name).write_bytes(data)

    def cut(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    def gone(folder: Path) -> None:
        (folder / name).unlink()

    def empty(folder: Path) -> None:
        (folder / name).write_bytes(b"")

    def beside(folder: Path) -> None:
        path = folder / name
        path.with_name(f"{path.stem}-more{path.suffix}").write_bytes(path.read_bytes())

    tells = [("a flipped bit", bit)]
    if not private:
        tells += [("cut in half", cut), ("empty", empty)]
    if not private and name not in KEPT_BY_CHOICE:
        tells += [("gone", gone)]
    for how, tell in tells:
        yield FolderLie(name, None, how, tell)
    more = Path(name)
    yield FolderLie(
        (more.parent / f"{more.stem}-more{more.suffix}").as_posix(), None, "new", beside
    )
