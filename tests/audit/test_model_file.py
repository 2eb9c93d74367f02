"""A model's file: written from a closed round, and bound to it byte for byte."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.calling import Call
from tests.integration.networks import copied, finished_run, own_scenario, run, small_scenario
from wardround.audit.errors import FileMismatch
from wardround.audit.finished import FinishedRun, open_run
from wardround.audit.model_file import (
    HEADER_MAX_BYTES,
    read_model_file,
    round_model,
    study_layout,
    verify_model,
)
from wardround.protocol.errors import Malformed, ProtocolError, ReplayFailed
from wardround.protocol.model import layout_digest
from wardround.protocol.replay import fetch_specification

SOURCE = b"from torch import nn\n\n\ndef build():\n    return nn.Linear(6, 1)\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the small scenario's run: three sites, three rounds, seven parameters."""
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def opened(finished: Path) -> Iterator[FinishedRun]:
    with open_run(finished) as found:
        yield found


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """A file's header and tensors."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: object, tensors: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + tensors


# ---------------------------------------------------------------- export


def test_export_of_a_run_is_what_its_simulation_left(
    call: Call, finished: Path, tmp_path: Path
) -> None:
    said = call("model", "export", finished, "--out", "out.safetensors").good
    assert said.count("recomputed, equal") == 3
    assert "round 3 of 3, root 0x" in said
    assert "taken as recorded" not in said
    exported = (tmp_path / "out.safetensors").read_bytes()
    assert exported == (finished / "model.safetensors").read_bytes()
    assert set(parts(tmp_path / "out.safetensors")[0]["__metadata__"]) == {
        "chain_id", "contract", "layout", "root", "round", "study",
    }  # fmt: skip


def test_export_of_an_earlier_round_is_bound_to_that_round(
    call: Call, finished: Path, tmp_path: Path
) -> None:
    path = tmp_path / "two.safetensors"
    said = call("model", "export", finished, "--round", 2, "--out", path, "--as-recorded").good
    assert "recomputed" not in said.replace("recomputes", "")
    assert "The rounds are taken as recorded" in said
    assert "round 2 of 3" in call("model", "verify", path, finished).good
    assert path.read_bytes() != (finished / "model.safetensors").read_bytes()
    error = call("model", "export", finished, "--round", 4, "--out", path).error
    assert "round 4 was not closed; closed are 3" in error


def test_export_when_a_round_does_not_follow_writes_nothing(
    call: Call, finished: Path, tmp_path: Path
) -> None:
    folder = copied(finished, tmp_path / "run")
    with open_run(folder) as found:
        record = found.contract.closed_rounds(found.study)[0].closing.record
        spec = fetch_specification(found.contract.facts(found.study), found.store.map)
        first = round_model(found.contract.facts(found.study), spec, 1, record, found.store)
        update = next(
            cid
            for cid in found.store.cids()
            if found.store.size(cid) == first.values.nbytes
            and bytes(found.store.map(cid)) != first.values.tobytes()
        )
    (folder / "store" / update).write_bytes(b"\0" * first.values.nbytes)
    assert "was altered" in call("model", "export", folder, "--out", "out").error
    assert not (tmp_path / "out").exists()


def test_export_of_a_model_of_the_studys_own_runs_none_of_its_code(
    call: Call, tmp_path: Path
) -> None:
    folder = tmp_path / "own"
    run(own_scenario({"model.py": SOURCE}, study={"rounds": 1}), folder)
    for name in modules_of_studies():
        del sys.modules[name]
    assert call("model", "export", folder, "--out", "out").good
    assert "The file is this round's model." in call("model", "verify", "out", folder).good
    assert "All holds." in call("audit", folder).good
    assert not modules_of_studies()
    with open_run(folder) as found:
        spec = fetch_specification(found.contract.facts(found.study), found.store.map)
        assert "0x" + layout_digest(study_layout(spec, found.store)).hex() == spec.model.layout
    header, tensors = parts(tmp_path / "out")
    header["Weight"] = header.pop("weight")
    stated = header["__metadata__"]["layout"]
    header["__metadata__"]["layout"] = stated.replace("weight", "Weight")
    (tmp_path / "out").write_bytes(joined(header, tensors))
    assert "the layout's digest is 0x" in call("model", "verify", "out", folder).error


def modules_of_studies() -> list[str]:
    return [name for name in sys.modules if name.startswith("wardround_study_")]


# ---------------------------------------------------------------- verify


def test_verify_when_true_names_the_round_and_whether_it_is_final(
    call: Call, finished: Path, tmp_path: Path
) -> None:
    folder = copied(finished, tmp_path / "run")
    said = call("model", "verify", folder / "model.safetensors", folder).good
    assert "round 3 of 3" in said
    assert "not final: a challenge can still overturn" in said
    assert said.endswith("The file is this round's model.\n")
    call("claim", folder)
    said = call("model", "verify", folder / "model.safetensors", folder).good
    assert "not final" not in said
    assert "final: no challenge can overturn this round" in said


@pytest.mark.parametrize("option", ["--rpc", "--contract", "--store"])
def test_options_of_a_study_are_refused_for_a_run(call: Call, finished: Path, option: str) -> None:
    file = finished / "model.safetensors"
    assert "leave --rpc" in call("model", "verify", file, finished, option, "x").error
    assert "leave --rpc" in call("model", "export", finished, option, "x", "--out", "y").error


def test_verify_takes_only_an_id_from_the_file(call: Call, finished: Path, tmp_path: Path) -> None:
    header, tensors = parts(finished / "model.safetensors")
    header["__metadata__"]["study"] = str(finished)
    (tmp_path / "file").write_bytes(joined(header, tensors))
    assert "the study's id is malformed" in call("model", "verify", "file").error
    assert (
        "needs --rpc, --contract" in call("model", "verify", finished / "model.safetensors").error
    )


def test_verify_of_a_stored_vector_with_another_root_names_the_round(opened: FinishedRun) -> None:
    facts, closed = opened.contract.facts(opened.study), opened.contract.closed_rounds(opened.study)
    spec = fetch_specification(facts, opened.store.map)
    record = closed[0].closing.record
    other = type(record)(**{**vars(record), "model": closed[1].closing.record.model})
    with pytest.raises(ReplayFailed, match="round 1: model: the stored one has not the recorded"):
        round_model(facts, spec, 1, other, opened.store)


Header = dict[str, Any]
Change = Callable[[Header, bytes], tuple[Header, bytes]]


def stating(key: str, value: str | None) -> Change:
    """Change what the metadata state, or leave it out."""

    def change(header: Header, tensors: bytes) -> tuple[Header, bytes]:
        if value is None:
            del header["__metadata__"][key]
        else:
            header["__metadata__"][key] = value
        return header, tensors

    return change


def renamed(header: Header, tensors: bytes) -> tuple[Header, bytes]:
    header["2.weight"] = header.pop("1.weight")
    return header, tensors


def relaid(header: Header, tensors: bytes) -> tuple[Header, bytes]:
    """Another layout, in metadata and tensors alike."""
    header["2.weight"] = header.pop("1.weight")
    stated = header["__metadata__"]["layout"]
    return stating("layout", stated.replace("1.weight", "2.weight"))(header, tensors)


def reordered(header: Header, tensors: bytes) -> tuple[Header, bytes]:
    rows = json.loads(header["__metadata__"]["layout"])[::-1]
    return stating("layout", json.dumps(rows, separators=(",", ":")))(header, tensors)


def reshaped(header: Header, tensors: bytes) -> tuple[Header, bytes]:
    header["1.weight"]["shape"] = header["1.weight"]["shape"][::-1]
    return header, tensors


def added(header: Header, tensors: bytes) -> tuple[Header, bytes]:
    end = len(tensors)
    header["more"] = {"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]}
    return header, tensors + bytes(4)


def nudged(header: Header, tensors: bytes) -> tuple[Header, bytes]:
    start = header["1.weight"]["data_offsets"][0] + 8
    value = np.frombuffer(tensors[start : start + 4], "<f4")
    following = np.nextafter(value, np.float32(np.inf)).tobytes()
    return header, tensors[:start] + following + tensors[start + 4 :]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (stating("chain_id", "1"), "metadata 'chain_id' is 1, but chain and store give 31337"),
        (stating("contract", "0x" + "12" * 20), "metadata 'contract' is 0x1212"),
        (stating("study", "0x" + "12" * 32), "metadata 'study' is 0x1212"),
        (stating("round", "2"), "metadata 'root' is 0x"),
        (stating("round", "4"), "metadata 'round' is 4, but chain and store give 3 closed rounds"),
        (stating("root", "0x" + "12" * 32), "metadata 'root' is 0x1212"),
        (stating("accuracy", "0.99"), "metadata 'accuracy' is there"),
        *((stating(key, None), f"metadata '{key}' is missing")
          for key in ("chain_id", "contract", "study", "round", "root", "layout")),
        (renamed, "tensor '1.weight' is missing"),
        (relaid, 'layout is [{'),
        (reordered, 'layout is [{'),
        (reshaped, "shape of tensor '1.weight' is [6, 1], but chain and store give [1, 6]"),
        (added, "tensor 'more' is there"),
        (nudged, "tensor '1.weight' at 2 is "),
    ],
)  # fmt: skip
def test_verify_when_one_thing_is_another_names_it(
    opened: FinishedRun, tmp_path: Path, change: Change, words: str
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(joined(*change(*parts(opened.folders.root / path.name))))
    with pytest.raises(FileMismatch) as named:
        verify_model(path, opened.contract, opened.study, opened.store)
    assert f"{path}: {words}" in str(named.value)


@pytest.mark.parametrize("text", ["0", "03", "-1", "3.0", "³", "9" * 5000, "", "three"])
def test_verify_when_the_round_is_no_number_names_it(
    opened: FinishedRun, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(joined(*stating("round", text)(*parts(opened.folders.root / path.name))))
    with pytest.raises(Malformed, match="round is malformed: expected a number"):
        verify_model(path, opened.contract, opened.study, opened.store)


@pytest.mark.parametrize(
    "layout",
    [
        "[]",
        "[1]",
        "{",
        "[" * 70 + "]" * 70,
        '[{"name":"a"}]',
        '[{"name":"a","shape":[0]}]',
        '[{"name":"a","shape":[7]}]',
        '[{"name":"a","shape":[3]},{"name":"a","shape":[4]}]',
        '[{"name": "1.weight","shape":[7]}]',
    ],
)
def test_verify_when_the_layout_is_another_refuses_it(
    opened: FinishedRun, tmp_path: Path, layout: str
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(joined(*stating("layout", layout)(*parts(opened.folders.root / path.name))))
    with pytest.raises((Malformed, FileMismatch), match="layout"):
        verify_model(path, opened.contract, opened.study, opened.store)


def test_verify_when_any_byte_has_a_flipped_bit_refuses_it(
    opened: FinishedRun, tmp_path: Path
) -> None:
    true = opened.folders.root / "model.safetensors"
    model, _ = verify_model(true, opened.contract, opened.study, opened.store)
    whole, path = true.read_bytes(), tmp_path / "flipped"
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << at % 8
        path.write_bytes(flipped)
        with pytest.raises((Malformed, FileMismatch)):
            model.check(read_model_file(path))
    path.write_bytes(whole)
    model.check(read_model_file(path))


def test_verify_when_a_zero_has_a_sign_refuses_it(opened: FinishedRun, tmp_path: Path) -> None:
    true = opened.folders.root / "model.safetensors"
    model, _ = verify_model(true, opened.contract, opened.study, opened.store)
    zeros = type(model)(**{**vars(model), "values": np.zeros(7, np.int32)})
    header, _ = parts(true)
    path = tmp_path / "zeros"
    path.write_bytes(joined(header, bytes(28)))
    zeros.check(read_model_file(path))
    path.write_bytes(joined(header, b"\0\0\0\x80" + bytes(24)))
    with pytest.raises(FileMismatch, match=r"is -0\.0, but chain and store give 0\.0"):
        zeros.check(read_model_file(path))


def test_models_of_sums_are_refused(opened: FinishedRun) -> None:
    facts = opened.contract.facts(opened.study)
    spec = small_scenario(aggregation={"rule": "sum"}).specification
    record = opened.contract.closed_rounds(opened.study)[0].closing.record
    with pytest.raises(ProtocolError, match="has no model"):
        round_model(facts, spec, 1, record, opened.store)


# ---------------------------------------------------------------- hostile files

GOOD = {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}


def tensor(**changes: object) -> dict[str, object]:
    return {"x": {**GOOD["x"], **changes}}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "its header is not within 0 bytes"),
        (b"\x01\x00", "its header is not within 0 bytes"),
        (b"\xff" * 8 + b"{}", "its header is not within 2 bytes"),
        (pickle.dumps([1.5] * 40), "its header is not within"),
        (joined(b"{", b""), "header is malformed: not JSON"),
        (joined(b"\xff\xfe", b""), "header is malformed: not JSON"),
        (joined(b"[]", b""), "header is malformed: not a JSON object"),
        (joined(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b""), "nested deeper than 64"),
        (joined(b'{"__metadata__":{},"__metadata__":{}}', b""), "a key is there twice"),
        (joined(b'{"x":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
         "a key is there twice"),
        (joined({"__metadata__": {"round": 3}}, b""), "round"),
        (joined({"__metadata__": []}, b""), "header is malformed"),
        (joined(tensor(dtype="F64"), bytes(4)), "x.dtype"),
        (joined(tensor(shape=[-1]), bytes(4)), "x.shape.0"),
        (joined(tensor(shape=[True]), bytes(4)), "x.shape.0"),
        (joined(tensor(shape=[1] * 65), bytes(4)), "x.shape"),
        (joined(tensor(shape=[2**53]), bytes(4)), "x.shape.0"),
        (joined(tensor(shape=[2**52] * 64), bytes(4)), "overlap others, or leave a gap"),
        (joined(tensor(data_offsets=[4, 0]), bytes(4)), "overlap others, or leave a gap"),
        (joined(tensor(data_offsets=[4, 8]), bytes(8)), "overlap others, or leave a gap"),
        (joined({**GOOD, "y": GOOD["x"]}, bytes(4)), "overlap others, or leave a gap"),
        (joined(tensor(data_offsets=[0]), bytes(4)), "x.data_offsets"),
        (joined(tensor(more=1), bytes(4)), "x.more: no such key"),
        (joined(GOOD, bytes(3)), "and its header describes"),
        (joined(GOOD, bytes(5)), "and its header describes"),
        (joined(b'{"x":' + b"9" * 5000 + b"}", b""), "header is malformed"),
    ],
)  # fmt: skip
def test_file_when_hostile_is_refused_by_name(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(data)
    with pytest.raises(Malformed) as refused:
        read_model_file(path)
    assert words in str(refused.value)
    assert str(path) in str(refused.value)


def test_file_when_missing_is_named(call: Call, finished: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        assert f"{path}: there is no such file" in call("model", "verify", path, finished).error


def test_file_when_its_header_is_endless_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write((1 << 39).to_bytes(8, "little"))
        file.truncate(1 << 40)
    with pytest.raises(Malformed, match=f"its header is not within {HEADER_MAX_BYTES} bytes"):
        read_model_file(path)


def test_file_when_it_holds_a_scalar_is_read_as_the_library_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "scalar"
    path.write_bytes(joined(tensor(shape=[]), np.float32(1.5).tobytes()))
    found = read_model_file(path).tensors["x"]
    np.testing.assert_array_equal(found, load_file(path)["x"])
    assert found.shape == ()
