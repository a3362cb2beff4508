"""One checkpoint file: what goes in comes out, and nothing damaged does."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from graphc import checkpoint
from graphc.errors import CheckpointError
from graphc.frontends import train

ARRAYS: dict[str, np.ndarray] = {
    "model.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "model.bias": np.array([1.5, -0.0, np.inf], np.float64),
    "step": np.array(7),
    "mask": np.array([True, False, True]),
    "empty": np.zeros((0, 5), np.uint8),
}
METADATA = {"epoch": 3, "losses": [0.1, 1e-300, float("inf")], "name": 'é"\n'}


def saved(folder: Path) -> Path:
    path = folder / "some" / "file.safetensors"
    checkpoint.save(path, ARRAYS, METADATA)
    return path


def equal(a: np.ndarray, b: object) -> bool:
    b = np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_round_trip(tmp_path: Path) -> None:
    arrays, metadata = checkpoint.load(saved(tmp_path))
    assert metadata == METADATA and set(arrays) == set(ARRAYS)
    assert all(equal(arrays[name], ARRAYS[name]) for name in ARRAYS)
    assert all(array.flags.writeable and array.flags.aligned for array in arrays.values())


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()
    checkpoint.save(path, dict(reversed(ARRAYS.items())), METADATA)
    assert path.read_bytes() == before


def test_other_readers_of_safetensors_read_it(tmp_path: Path) -> None:
    arrays = safetensors.numpy.load_file(saved(tmp_path))
    assert all(equal(arrays[name], ARRAYS[name]) for name in ARRAYS)


KINDS = st.sampled_from(["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"])
VALUES = KINDS.flatmap(lambda kind: arrays_of.arrays(kind, arrays_of.array_shapes(min_dims=0)))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text().filter("__metadata__".__ne__), VALUES, max_size=4))
def test_round_trip_of_any_arrays(tmp_path: Path, given: dict[str, np.ndarray]) -> None:
    try:
        checkpoint.save(tmp_path / "file", given)
    except CheckpointError as error:
        assert "is no name" in str(error)
        return
    arrays, metadata = checkpoint.load(tmp_path / "file")
    assert metadata == {} and set(arrays) == set(given)
    assert all(equal(arrays[name], given[name]) for name in given)


def test_byte_order_and_layout_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "file"
    strided = np.arange(12, dtype=">i4").reshape(3, 4).T[::2]
    checkpoint.save(path, {"a": strided})
    assert checkpoint.load(path)[0]["a"].tolist() == strided.tolist()


def test_what_cannot_be_stored(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for arrays, message in (
        ({"a": np.array([object()])}, "array 'a' has element type object, no number"),
        ({"a": np.array(["text"])}, "no number"),
        ({"__metadata__": np.zeros(1)}, "'__metadata__' is no name"),
        ({"\ud800": np.zeros(1)}, "is no name"),
        ({3: np.zeros(1)}, "3 is no name"),
    ):
        with pytest.raises(CheckpointError, match=message):
            checkpoint.save(path, arrays)  # type: ignore[arg-type]  # the error is the test
    with pytest.raises(CheckpointError, match="metadata are no JSON"):
        checkpoint.save(path, {}, {"x": object()})
    assert not path.exists()


def test_every_flipped_byte_is_refused_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"file\.safetensors: "):
            checkpoint.load(path)


def test_every_cut_is_refused_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"file\.safetensors: "):
            checkpoint.load(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError, match="cut or damaged"):
        checkpoint.load(path)


def test_a_damaged_tensor_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="tensor 'mask' is damaged"):
        checkpoint.load(path)


def test_a_header_length_that_lies_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes((2**63).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="9223372036854775808 bytes, but has 10 bytes in all"):
        checkpoint.load(path)


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "file"
    safetensors.numpy.save_file({"a": np.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="is no graphc checkpoint"):
        checkpoint.load(path)
    with pytest.raises(CheckpointError, match="absent: cannot be read: No such file"):
        checkpoint.load(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="Is a directory"):
        checkpoint.load(tmp_path)


def reforged(path: Path, change: dict[str, str]) -> None:
    """Rewrite ``__metadata__`` and make its checksum right again, as an attacker would."""
    import hashlib

    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] |= change | {"header_sha256": "0" * 64}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    text = text.replace(b"0" * 64, hashlib.sha256(text).hexdigest().encode(), 1)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metadata": "[" * 100_000}, "no JSON"),
        ({"metadata": "[1]"}, "lacks its manifest"),
        ({"tensors": "{}"}, "does not list the tensors"),
        ({"tensors": "7"}, "lacks its manifest"),
    ],
)
def test_forged_manifests(tmp_path: Path, change: dict[str, str], message: str) -> None:
    path = saved(tmp_path)
    reforged(path, {})
    assert checkpoint.load(path)[1] == METADATA
    reforged(path, change)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(path)


def test_nothing_here_can_run_code_from_a_file() -> None:
    """No pickle, no eval, no import by a name read from a file, anywhere in the loaders."""
    (folder,) = train.__path__
    forbidden = {"pickle", "marshal", "shelve", "dill", "joblib"}
    for source in Path(folder).rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {alias.name.split(".")[0] for alias in node.names}
                assert not names & forbidden, source
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "__import__"}, source
            if isinstance(node, ast.keyword):
                assert node.arg != "allow_pickle", source
