"""Messages between server and workers as plain bytes: no pickle, nothing that runs code.

A message is ``b"kipax" + version (1 byte) + length of the header (4 bytes) + header + arrays +
crc32 (4 bytes)``, little-endian. The header is a JSON object; its ``arrays`` name dtype, shape
and memory order of the arrays that follow: a matrix product rounds differently for another
order. A message of any other form is refused with a `WireError`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
import zlib
from collections.abc import Mapping
from typing import Any, get_type_hints

import numpy as np

from kipax.blocks.executor import TargetRows
from kipax.blocks.plan import Block
from kipax.blocks.tasks import TASKS, TargetPassTask, Task
from kipax.errors import UsageError, WireError
from kipax.kernels import KernelSpec, descriptions
from kipax.ridge import LOSSES

__all__ = ["LIMIT", "VERSION", "Message", "pack", "pack_task", "unpack", "unpack_task"]

VERSION = 2  # of this format
LIMIT = 1_900_000_000  # bytes of a message; courier aborts the process beyond 2 GB
_MAGIC = b"kipax"
_START = struct.Struct("<5sBI")
_END = struct.Struct("<I")
_DTYPES = ("<f4", "<f8", "<i8", "|u1")


@dataclasses.dataclass(frozen=True, eq=False)
class Message:
    """A header and named arrays.

    Attributes:
        header: a JSON object.
        arrays: by name.
    """

    header: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def get(self, name: str, kind: type) -> Any:
        """Returns a header field; raises a `WireError` unless it is there and of type `kind`."""
        value = self.header.get(name)
        if type(value) is not kind:
            raise WireError(f"a message needs {name}, of type {kind.__name__}; got {value!r:.80}.")
        return value


def pack(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> bytes:
    """Returns the bytes of a message.

    Args:
        header: JSON-ready.
        arrays: of the dtypes float32, float64, int64 and uint8.

    Raises:
        UsageError: another dtype, or a message beyond 1.9 GB.

    Example:
        >>> unpack(pack({"kind": "take"}, {"x": np.ones(2)})).arrays["x"]
        array([1., 1.])
    """
    described, parts = [], []
    for name, array in (arrays or {}).items():
        array = np.asarray(array)
        order: Any = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        dtype = array.dtype.newbyteorder("<").str
        if dtype not in _DTYPES:
            raise UsageError(f"a message carries {', '.join(_DTYPES)}; {name} is {dtype}.")
        described.append([name, dtype, list(array.shape), order])
        parts.append(array.astype(dtype, copy=False).tobytes(order))
    text = json.dumps(dict(header) | {"arrays": described}).encode()
    body = b"".join([_START.pack(_MAGIC, VERSION, len(text)), text, *parts])
    if len(body) > LIMIT:
        raise UsageError(
            f"a message holds at most {LIMIT / 1e9:.1f} GB; this one has {len(body) / 1e9:.1f}: "
            "take fewer supports, or smaller images."
        )
    return body + _END.pack(zlib.crc32(body))


def unpack(data: bytes) -> Message:
    """Returns the message that `pack` wrote; arrays are views of `data` where its alignment allows.

    Raises:
        WireError: other bytes, another format version, a wrong checksum, a header that is no
            JSON object, or arrays of another size than the header says.
    """
    if not isinstance(data, bytes) or len(data) < _START.size + _END.size:
        raise WireError("refused what is no message: too short, or no bytes.")
    magic, version, length = _START.unpack_from(data)
    if magic != _MAGIC:
        raise WireError("refused bytes that are no message of kipax.")
    if version != VERSION:
        raise WireError(
            f"refused a message of format {version}; this kipax speaks format {VERSION}: install "
            "one kipax on server and workers."
        )
    body, (checksum,) = memoryview(data)[: -_END.size], _END.unpack_from(data, len(data) - 4)
    if zlib.crc32(body) != checksum:
        raise WireError("refused a damaged message: its checksum differs.")
    header = _read_header(bytes(body[_START.size : _START.size + length]))
    return Message(header, _read_arrays(header, body[_START.size + length :]))


def _read_header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):  # RecursionError where it is nested deeply
        header = None
    if not isinstance(header, dict) or not isinstance(header.get("arrays"), list):
        raise WireError("refused a message without a header.")
    return header


def _read_arrays(header: dict[str, Any], body: memoryview) -> dict[str, np.ndarray]:
    arrays, start = {}, 0
    for entry in header.pop("arrays"):
        try:
            name, dtype, shape, order = entry
            known = isinstance(name, str) and dtype in _DTYPES and order in ("C", "F")
            known = known and isinstance(shape, list) and len(shape) <= 8
            known = known and all(type(n) is int and 0 <= n <= LIMIT for n in shape)
        except (TypeError, ValueError):
            known = False
        if not known:
            raise WireError(f"refused an array described as {entry!r:.80}.")
        size = math.prod(shape)
        stop = start + size * np.dtype(dtype).itemsize
        if stop > len(body):
            raise WireError(f"refused a message of the wrong size: {name} is cut off.")
        array = np.frombuffer(body[start:stop], dtype).reshape(shape, order=order)
        arrays[name] = np.require(array, requirements="A")
        start = stop
    if start != len(body):
        raise WireError(f"refused a message of the wrong size: {len(body) - start} bytes too many.")
    return arrays


# -- tasks ---------------------------------------------------------------------------------------


def pack_task(task: Task, header: Mapping[str, Any]) -> bytes:
    """Packs a task, with further header fields."""
    described: dict[str, Any] = {"op": task.op}
    arrays = {}
    for field in dataclasses.fields(task):
        name, value = field.name, getattr(task, field.name)
        if isinstance(value, KernelSpec):
            described[name] = [value.architecture.to_dict(), value.kind, value.backend]
        elif isinstance(value, TargetRows):
            described[name] = [value.step, value.augmentation_seed]
            arrays[name] = np.asarray(value.indices, np.int64)
        elif isinstance(value, Block):
            described[name] = [list(value.rows), list(value.columns)]
        elif isinstance(value, np.ndarray):
            arrays[name] = value
        else:
            described[name] = value
    return pack(dict(header) | {"task": described}, arrays)


def unpack_task(message: Message) -> Task:
    """Reads the task that `pack_task` wrote.

    Raises:
        WireError: the message is not a task, or its fields contradict each other.
    """
    described = message.get("task", dict)
    try:
        kind = TASKS[described["op"]]
        hints = get_type_hints(kind)
        types = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
        task = kind(**{name: _read_field(message, name, t) for name, t in types.items()})
    except (KeyError, TypeError, ValueError) as error:
        raise WireError(f"refused a task that is none: {error}.") from error
    known = types.keys() | {"op"}
    sound = described.keys() <= known and message.arrays.keys() <= known
    if not sound or (isinstance(task, TargetPassTask) and task.loss not in LOSSES):
        raise WireError(f"refused a task that makes no sense: {described!r:.200}.")
    return task


def _read_field(message: Message, name: str, kind: type) -> Any:
    """Reads a field of a task by its type; raises a `KeyError`, `TypeError` or `ValueError`."""
    if kind is np.ndarray:
        return message.arrays[name]
    value = message.header["task"][name]
    if kind is KernelSpec:
        architecture, of_kind, backend = value
        if not of_kind:
            raise ValueError("a kernel without its kind")
        return KernelSpec(descriptions.from_dict(architecture), of_kind, backend)
    if kind is TargetRows:
        step, seed = value
        return TargetRows(message.arrays[name], step, seed)
    if kind is Block:
        rows, columns = value
        return Block(tuple(rows), tuple(columns))
    if type(value) is not kind:
        raise TypeError(f"{name} is of type {kind.__name__}, not {value!r:.40}")
    return value
