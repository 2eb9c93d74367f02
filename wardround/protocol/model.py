"""A study's model: one that comes with wardround, or one that the study's own files build.

The files of a study are named and pinned by their SHA-256 in its specification. Nothing else is
ever imported because a study names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, FiniteFloat, field_validator, model_validator

from wardround.protocol.canonical import canonical_digest, sha256_digest
from wardround.protocol.cid import Cid, cid_from_sha256
from wardround.protocol.documents import Form
from wardround.protocol.errors import Malformed, StudyMismatch
from wardround.protocol.identifiers import bytes32, hex_of
from wardround.protocol.layout import Layout
from wardround.protocol.report import Hex32

FILES_MAX = 64
#: Of all files together: what an administrator can be asked to read.
FILES_MAX_BYTES = 1 << 20

_FILE_NAME = r"^_?[a-z][a-z0-9_]{0,60}\.py$"
FileName = Annotated[str, Field(pattern=_FILE_NAME)]
#: What a screen may take as a command, and what ends a line there.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
PythonName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
#: Content by name.
StudyFiles = Mapping[str, bytes]
NO_FILES: StudyFiles = {}

_FEWEST_CLASSES = 2
_Size = Annotated[int, Field(ge=1, lt=2**31)]
#: Keys of a model that the study's own files build.
_OWN = ("file", "factory", "files", "row_shape", "classes")


class ModelSpec(Form):
    """``[model]``: a model's name, or the study's own file and the function in it that builds it.

    Attributes:
        name: of a model that comes with wardround.
        file: of the study's own, which has the factory.
        factory: a function of ``file`` that takes the arguments and returns a network.
        files: SHA-256 of each file of the study's own, by name, ``file`` among them.
        row_shape: of one row's features, as the network takes them.
        classes: how many the network tells apart.
        layout: digest of the parameters' names and shapes, in their order; the sponsor's
            command adds it.
        arguments: what the model takes.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    file: FileName | None = None
    factory: PythonName | None = None
    files: dict[FileName, Hex32] = Field(default_factory=dict, max_length=FILES_MAX)
    row_shape: Annotated[list[_Size], Field(min_length=1, max_length=8)] | None = None
    classes: Annotated[int, Field(ge=_FEWEST_CLASSES, lt=2**31)] | None = None
    layout: Hex32 | None = None
    arguments: dict[PythonName, int | FiniteFloat | str | list[int]] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _names_no_code(cls, name: str | None) -> str | None:
        if name is not None and ":" in name:
            raise ValueError(
                f"{name} is code outside of the study, which no site imports: put it into a file "
                'beside this one and write file = "model.py" and factory = "build" in its place'
            )
        return name

    @field_validator("name", "arguments")
    @classmethod
    def _is_shown_in_one_line(cls, given: Any) -> Any:
        for value in given.values() if isinstance(given, dict) else [given]:
            if isinstance(value, str) and _CONTROL.search(value):
                raise ValueError(f"{value!r} has a line break or a control character")
        return given

    @model_validator(mode="after")
    def _one_source(self) -> ModelSpec:
        given = [key for key in (*_OWN, "layout") if getattr(self, key)]
        if self.name is not None:
            if given:
                raise ValueError(f"{given[0]} goes with file: give name or file, not both")
            return self
        missing = [key for key in _OWN if key not in given]
        if "file" in missing:
            raise ValueError("give the name of a model, or a file of the study's own")
        if missing and missing != ["files"]:
            raise ValueError(f"a model of the study's own needs {missing[0]}")
        if self.file not in self.files:
            raise ValueError("files has no digest of file")
        return self

    @property
    def is_own(self) -> bool:
        """Whether the study's own files build it."""
        return self.file is not None

    @property
    def label(self) -> str:
        """The model's name, or its file and factory, for people."""
        return self.name if self.name is not None else f"{self.file} ({self.factory})"

    @property
    def told_apart(self) -> int:
        """How many classes the network tells apart: two, where no argument gives it."""
        found = self.classes if self.is_own else self.arguments.get("classes")
        return found if isinstance(found, int) else _FEWEST_CLASSES

    def document(self) -> dict[str, Any]:
        """The JSON value, without the keys of the other kind of model."""
        unused = {"name"} if self.is_own else {*_OWN, "layout"}
        unused |= {"layout"} if self.layout is None else set()
        return self.model_dump(mode="json", exclude=unused)

    def pinned(self, layout: Layout) -> ModelSpec:
        """Pin the order, names and shapes of the parameters of a model of the study's own."""
        if not self.is_own:
            return self
        return self.model_copy(update={"layout": hex_of(layout_digest(layout))})

    def check_layout(self, layout: Layout) -> None:
        """Compare a built network's layout with the pinned one, where there is one.

        Raises:
            StudyMismatch: the parameters have other names, shapes or another order.
        """
        found = hex_of(layout_digest(layout))
        if self.layout is not None and found != self.layout:
            order = ", ".join(layout.names[:6]) + (", …" if len(layout.names) > 6 else "")
            raise StudyMismatch(
                "the layout of the model's parameters", self.layout, f"{found} ({order})"
            )

    def check_files(self, files: StudyFiles) -> StudyFiles:
        """Compare the study's own files with their digests.

        Returns:
            The files that the specification names, and no other.

        Raises:
            StudyMismatch: one is missing, or has another content.
            Malformed: they are too long together, or one is not UTF-8 text.
        """
        for name, pinned in self.files.items():
            found = hex_of(sha256_digest(files[name])) if name in files else "missing"
            if found != pinned:
                raise StudyMismatch(f"the study's file {name}", pinned, found)
            try:
                files[name].decode()
            except UnicodeDecodeError as error:
                reason = f"not UTF-8 text, from byte {error.start} on"
                raise Malformed(f"the study's file {name}", reason) from error
        total = sum(len(files[name]) for name in self.files)
        if total > FILES_MAX_BYTES:
            raise Malformed("the study's own files", f"{total} bytes exceed {FILES_MAX_BYTES}")
        return {name: files[name] for name in sorted(self.files)}

    def cids(self) -> dict[str, Cid]:
        """Names under which a content store has the files."""
        return {
            name: cid_from_sha256(bytes32(digest, "digest"))
            for name, digest in sorted(self.files.items())
        }


def is_file_name(name: str) -> bool:
    """Whether a file of a study may have this name, which makes a module's name without ``.py``."""
    return re.fullmatch(_FILE_NAME[1:-1], name, re.ASCII) is not None


def file_digests(files: StudyFiles) -> dict[str, str]:
    """Write ``files`` of `ModelSpec`: the SHA-256 of each, by name."""
    return {name: hex_of(sha256_digest(data)) for name, data in sorted(files.items())}


def layout_digest(layout: Layout) -> bytes:
    """SHA-256 of a layout's RFC 8785 form: names and shapes in their order."""
    return canonical_digest(layout.document())
