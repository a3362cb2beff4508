"""Checkpoints: one safetensors file with a JSON manifest of checksums in its header.

    8 bytes  the header's length, little-endian
    header   JSON, padded with spaces: every tensor's dtype, shape and place, and __metadata__ with
             header_sha256   of the header itself, with zeros in this value's place
             tensors         JSON: the SHA-256 of every tensor's bytes
             metadata        JSON: what the caller gave
    data     the tensors' bytes, without gaps

Any reader of safetensors reads the tensors (https://github.com/huggingface/safetensors). Every byte
is covered: a flipped one changes the header's checksum or a tensor's, and a cut file is shorter
than its header says. Nothing in it is ever run: no pickle, no imports by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from graphc.errors import CheckpointError
from graphc.frontends.train.durable import make_folder, replace_file

Array = np.ndarray[Any, np.dtype[Any]]

FORMAT = "1"
LARGEST_HEADER_BYTES = 100_000_000  # what the format allows
_ZEROS = "0" * 64
_PREFIX = f'{{"__metadata__":{{"graphc_checkpoint":"{FORMAT}","header_sha256":"'
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_CODES = {np.dtype(spelling): code for code, spelling in _DTYPES.items()}


def save(
    path: str | Path, arrays: Mapping[str, ArrayLike], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write named arrays and JSON metadata to `path`: whole and synced, or not at all.

    An old file at `path` is replaced in one step. Raises CheckpointError where an array or the
    metadata cannot be stored, or the disk refuses; the old file then still stands.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/a.safetensors", {"w": np.float32([1, 2])}, {"epoch": 3})
    ...     arrays, metadata = load(f"{folder}/a.safetensors")
    >>> arrays["w"].tolist(), metadata
    ([1.0, 2.0], {'epoch': 3})
    """
    target = Path(path).expanduser()
    stored = {name: _storable(name, array, target) for name, array in arrays.items()}
    header = _header(stored, _as_json(metadata or {}, target))
    if len(header) > LARGEST_HEADER_BYTES:
        raise CheckpointError(f"{target}: names and metadata take {len(header)} bytes, too many")
    try:
        make_folder(target.parent)
        replace_file(target, _chunks(header, _in_order(stored)))
    except OSError as error:
        raise CheckpointError(f"{target}: cannot be written: {error.strerror or error}") from error


def load(path: str | Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the metadata of a checkpoint, every byte checked. Takes twice its size.

    Raises CheckpointError naming the file where it is missing, cut, damaged, or no checkpoint.
    """
    source = Path(path).expanduser()
    try:
        content = source.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{source}: cannot be read: {error.strerror or error}") from None
    manifest = _checked_manifest(content, source)
    arrays = _checked_arrays(content, _json_object(manifest.get("tensors"), source), source)
    return arrays, _json_object(manifest.get("metadata"), source)


def is_checkpoint(path: str | Path) -> bool:
    """Whether a file begins as `save` writes it. Raises CheckpointError where it cannot be read."""
    source = Path(path).expanduser()
    try:
        with source.open("rb") as file:
            return file.read(8 + len(_PREFIX))[8:] == _PREFIX.encode()
    except OSError as error:
        raise CheckpointError(f"{source}: cannot be read: {error.strerror or error}") from None


def load_foreign(path: str | Path) -> dict[str, Array]:
    """The arrays of a safetensors file that others have written; bfloat16 becomes float32.

    Raises CheckpointError naming the file where it is missing, damaged, or no safetensors.
    """
    source = Path(path).expanduser()
    try:
        content = source.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{source}: cannot be read: {error.strerror or error}") from None
    if content[:2] in (b"PK", b"\x80\x02"):
        raise CheckpointError(
            f"{source}: is a pickle of PyTorch, which runs code when it is read; there, "
            "safetensors.torch.save_file(model.state_dict(), path) writes what can be read here"
        )
    return {name: _as_array(name, entry, source) for name, entry in _deserialized(content, source)}


# Writing


def _storable(name: str, array: ArrayLike, path: Path) -> Array:
    """The array as it is stored: C order, little-endian."""
    if not isinstance(name, str) or name == "__metadata__" or not _is_unicode(name):
        raise CheckpointError(f"{path}: {name!r} is no name for an array")
    found = np.asarray(array, order="C")
    little = found.dtype.newbyteorder("<")
    if little not in _CODES:
        raise CheckpointError(f"{path}: array {name!r} has element type {found.dtype}, no number")
    return found.astype(little, copy=False)


def _is_unicode(name: str) -> bool:
    """Whether UTF-8 can spell it; a lone surrogate cannot, and other readers refuse the file."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _as_json(metadata: Mapping[str, Any], path: Path) -> str:
    try:
        return json.dumps(dict(metadata), sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the metadata are no JSON: {error}") from None


def _in_order(arrays: Mapping[str, Array]) -> list[tuple[str, Array]]:
    """Wide elements first, so that all tensors are aligned to their elements; then by name."""
    return sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))


def _header(arrays: Mapping[str, Array], metadata: str) -> bytes:
    """The header's bytes, a multiple of 8 of them, with their own checksum in them."""
    ordered = _in_order(arrays)
    checksums = {name: hashlib.sha256(_bytes(array)).hexdigest() for name, array in ordered}
    fields: dict[str, Any] = {
        "__metadata__": {
            "graphc_checkpoint": FORMAT,
            "header_sha256": _ZEROS,
            "metadata": metadata,
            "tensors": json.dumps(checksums),
        },
        **dict(_entries(ordered)),
    }
    text = json.dumps(fields, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return text.replace(_ZEROS.encode(), hashlib.sha256(text).hexdigest().encode(), 1)


def _entries(ordered: Iterable[tuple[str, Array]]) -> Iterator[tuple[str, dict[str, Any]]]:
    start = 0
    for name, array in ordered:
        end = start + array.nbytes
        code = _CODES[array.dtype]
        yield name, {"dtype": code, "shape": array.shape, "data_offsets": [start, end]}
        start = end


def _chunks(header: bytes, ordered: Iterable[tuple[str, Array]]) -> Iterator[bytes | memoryview]:
    yield len(header).to_bytes(8, "little") + header
    for _, array in ordered:
        yield _bytes(array)


def _bytes(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


# Reading


def _checked_manifest(content: bytes, path: Path) -> dict[str, Any]:
    """``__metadata__`` of the header, once its length and checksum are right."""
    header = _header_bytes(content, path)
    prefix = _PREFIX.encode()
    if not header.startswith(prefix):
        raise CheckpointError(
            f"{path}: is no graphc checkpoint, or its header is damaged (weights that others have "
            "written are read by graphc.checkpoint.load_into(model, path))"
        )
    place = slice(len(prefix), len(prefix) + len(_ZEROS))
    blank = header[: place.start] + _ZEROS.encode() + header[place.stop :]
    if hashlib.sha256(blank).hexdigest().encode() != header[place]:
        raise CheckpointError(f"{path}: the header is damaged (its checksum differs)")
    return _json_object(_json_object(header, path).get("__metadata__"), path)


def _header_bytes(content: bytes, path: Path) -> bytes:
    if len(content) < 8:
        raise CheckpointError(f"{path}: has {len(content)} bytes, cut within the first 8")
    length = int.from_bytes(content[:8], "little")
    if length > min(LARGEST_HEADER_BYTES, len(content) - 8):
        raise CheckpointError(
            f"{path}: says its header has {length} bytes, but has {len(content)} bytes in all; "
            "it is cut, damaged or no checkpoint"
        )
    return content[8 : 8 + length]


def _json_object(value: Any, path: Path) -> dict[str, Any]:
    """A JSON object from its text, or the object itself."""
    try:
        found = json.loads(value) if isinstance(value, (str, bytes)) else value
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the header is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: the header lacks its manifest")
    return found


def _deserialized(content: bytes, path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """(name, dtype, shape and data) of every tensor."""
    import safetensors

    deserialize: Any = safetensors.deserialize  # checks shapes, places and total size; untyped
    try:
        tensors: list[tuple[str, Mapping[str, Any]]] = deserialize(content)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path}: is cut or damaged, or no safetensors: {error}") from None
    return tensors


def _checked_arrays(content: bytes, checksums: dict[str, Any], path: Path) -> dict[str, Array]:
    tensors = _deserialized(content, path)
    if {name for name, _ in tensors} != set(checksums):
        raise CheckpointError(f"{path}: the manifest does not list the tensors that are there")
    return {name: _checked(name, entry, checksums[name], path) for name, entry in tensors}


def _checked(name: str, entry: Mapping[str, Any], checksum: Any, path: Path) -> Array:
    if hashlib.sha256(entry["data"]).hexdigest() != checksum:
        raise CheckpointError(f"{path}: tensor {name!r} is damaged (its checksum differs)")
    return _as_array(name, entry, path)


def _as_array(name: str, entry: Mapping[str, Any], path: Path) -> Array:
    """The elements; bfloat16, the upper half of a float32, as that."""
    code, shape = entry["dtype"], entry["shape"]
    if code == "BF16":
        halves = np.frombuffer(entry["data"], "<u2").astype("<u4")
        return (halves << np.uint32(16)).view("<f4").reshape(shape)
    if code not in _DTYPES:
        raise CheckpointError(f"{path}: tensor {name!r} has unknown type {code}")
    data = entry["data"] if isinstance(entry["data"], bytearray) else bytearray(entry["data"])
    return np.frombuffer(data, np.dtype(_DTYPES[code])).reshape(shape)
