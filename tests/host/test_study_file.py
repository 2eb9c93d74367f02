from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from wardround.host.study_file import read_study_file
from wardround.protocol.canonical import canonical_bytes
from wardround.protocol.errors import Malformed, SpecificationError, StudyMismatch, WardroundError
from wardround.protocol.model import FILES_MAX, FILES_MAX_BYTES, ModelSpec, file_digests
from wardround.protocol.study import load_study, parse_specification

STUDY = """
[study]
name = "own"
rounds = 3

[model]
file = "model.py"
factory = "build"
row_shape = [6]
classes = 2

[training]
learning_rate = 0.1
local_steps = 1
"""
MODEL = b"from torch import nn\n"


def written(folder: Path, text: str = STUDY, **files: bytes) -> Path:
    for name, data in ({"model": MODEL} | files).items():
        (folder / f"{name}.py").write_bytes(data)
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_study_with_own_files_pins_each_by_its_digest(tmp_path: Path) -> None:
    text = STUDY.replace("classes = 2", 'classes = 2\nfiles = ["layers.py"]')
    spec = read_study_file(written(tmp_path, text, layers=b"x = 1\n"))
    assert spec.files == {"layers.py": b"x = 1\n", "model.py": MODEL}
    digests = {name: f"0x{hashlib.sha256(data).hexdigest()}" for name, data in spec.files.items()}
    assert spec.document()["model"] == {
        "file": "model.py",
        "factory": "build",
        "files": digests,
        "row_shape": [6],
        "classes": 2,
        "arguments": {},
    }
    again = parse_specification(canonical_bytes(spec.document()))
    assert again.digest == spec.digest
    assert again.files == {}
    assert again.with_files(spec.files).files == spec.files


def test_digest_when_one_byte_of_a_file_differs_is_another(tmp_path: Path) -> None:
    first = read_study_file(written(tmp_path))
    second = read_study_file(written(tmp_path, model=MODEL + b"#"))
    assert first.digest != second.digest
    with pytest.raises(StudyMismatch, match=r"file model\.py"):
        first.with_files(second.files)
    with pytest.raises(StudyMismatch, match=r"file model\.py is missing"):
        first.with_files({})


@pytest.mark.parametrize(
    "name",
    ["../model.py", "a/model.py", "/model.py", "Model.py", "model", "__init__.py", "m.pyc", "", 3],
)
def test_own_file_with_another_name_is_refused(tmp_path: Path, name: object) -> None:
    shown = f'"{name}"' if isinstance(name, str) else str(name)
    for old, new in (
        ('file = "model.py"', f"file = {shown}"),
        ("classes = 2", f"classes = 2\nfiles = [{shown}]"),
    ):
        with pytest.raises(SpecificationError, match=r"is no name such as model\.py"):
            read_study_file(written(tmp_path, STUDY.replace(old, new)))


def test_own_file_that_is_missing_is_named(tmp_path: Path) -> None:
    path = written(tmp_path)
    (tmp_path / "model.py").unlink()
    with pytest.raises(SpecificationError, match=r"model\.py cannot be read: No such file"):
        read_study_file(path)


def test_own_files_that_are_too_long_or_too_many_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecificationError, match="more than 64 files or 1,048,576 bytes"):
        read_study_file(written(tmp_path, model=b"#" * (FILES_MAX_BYTES + 1)))
    names = {f"part{number}": b"" for number in range(FILES_MAX)}
    listed = ", ".join(f'"{name}.py"' for name in names)
    text = STUDY.replace("classes = 2", f"classes = 2\nfiles = [{listed}]")
    with pytest.raises(SpecificationError, match="more than 64 files or 1,048,576 bytes"):
        read_study_file(written(tmp_path, text, **names))


def test_own_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecificationError, match=r"model\.py: not UTF-8 text"):
        read_study_file(written(tmp_path, model=b"\xff\xfe"))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('factory = "build"', "", "needs factory"),
        ("classes = 2", "", "needs classes"),
        ("row_shape = [6]", "", "needs row_shape"),
        ('file = "model.py"', 'file = "model.py"\nname = "mlp"', "not both"),
        ('file = "model.py"', 'name = "mlp"', "goes with file"),
        ('file = "model.py"', "", "needs factory|the name of a model, or a file"),
        ('"build"', '"os.system"', "factory"),
        ("[6]", "[0]", "row_shape"),
        ("classes = 2", 'classes = 2\narguments = { x = "\\u001b[2J" }', "control character"),
        ("classes = 2", 'classes = 2\narguments = { x = "a\\nb" }', r"'a\\nb' has a line break"),
        ("classes = 2", 'classes = 2\narguments = { "a\\nb" = 1 }', "model.arguments"),
        ("classes = 2", 'classes = 2\nfiles = "layers.py"', "is no name|cannot be read"),
    ],
)
def test_own_model_when_a_key_is_wrong_says_so(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    with pytest.raises(SpecificationError, match=reason):
        read_study_file(written(tmp_path, STUDY.replace(old, new)))


@pytest.mark.parametrize("name", ["os:system", "package.module:factory", ":", "mlp:x"])
def test_name_of_code_outside_the_study_is_refused_in_both_forms(name: str) -> None:
    keys = ('file = "model.py"', 'factory = "build"', "row_shape = [6]", "classes = 2")
    text = STUDY
    for key in keys:
        text = text.replace(f"{key}\n", "")
    with pytest.raises(SpecificationError, match=f"{name} is code outside of the study"):
        load_study(text.replace("[model]", f'[model]\nname = "{name}"'), "study.toml")
    spec = load_study(text.replace("[model]", '[model]\nname = "mlp"'), "study.toml")
    stored = canonical_bytes(spec.document()).replace(b'"mlp"', f'"{name}"'.encode())
    with pytest.raises(Malformed, match="outside of the study"):
        parse_specification(stored)


def test_own_files_from_elsewhere_are_bounded_together() -> None:
    digest = "0x" + hashlib.sha256(b"#" * FILES_MAX_BYTES).hexdigest()
    names = ["model.py", "other.py"]
    model = ModelSpec(
        file="model.py",
        factory="build",
        files=dict.fromkeys(names, digest),
        row_shape=[1],
        classes=2,
    )
    with pytest.raises(WardroundError, match="exceed 1048576"):
        model.check_files(dict.fromkeys(names, b"#" * FILES_MAX_BYTES))


def test_own_file_that_is_not_utf_8_is_refused() -> None:
    latin = b"# caf\xe9\n"
    model = ModelSpec(
        file="model.py",
        factory="build",
        files=file_digests({"model.py": latin}),
        row_shape=[1],
        classes=2,
    )
    with pytest.raises(
        Malformed, match=r"file model\.py is malformed: not UTF-8 text, from byte 5"
    ):
        model.check_files({"model.py": latin})


def test_rule_of_counts_is_refused_for_a_model_and_says_what_it_is_for(tmp_path: Path) -> None:
    text = STUDY + '\n[aggregation]\nscale_bits = 0\nrule = "sum"\n'
    with pytest.raises(SpecificationError, match=r"sum adds up counts.*use mean") as caught:
        read_study_file(written(tmp_path, text))
    assert caught.value.key == "aggregation.rule"
    assert text.splitlines()[(caught.value.line or 0) - 1] == 'rule = "sum"'
