"""Messages survive the way, and whatever is no message is refused with one sentence."""

import dataclasses
import json
import pickle
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kipax import architectures
from kipax.blocks import TargetRows, wire
from kipax.blocks.plan import Block
from kipax.blocks.tasks import GramTask, SupportKernelTask, SupportVJPTask, TargetPassTask
from kipax.blocks.wire import pack, pack_task, unpack, unpack_task
from kipax.errors import UsageError, WireError
from kipax.kernels import KernelSpec

DTYPES = st.sampled_from([np.float32, np.float64, np.int64, np.uint8])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@given(
    st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=9))),
    st.dictionaries(st.text(max_size=5), hnp.arrays(DTYPES, SHAPES), max_size=3),
)
def test_there_and_back(header, arrays):
    header.pop("arrays", None)
    message = unpack(pack(header, arrays))
    assert message.header == header
    assert list(message.arrays) == list(arrays)
    for name, array in arrays.items():
        assert message.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(message.arrays[name], array)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("before", [0, 1])
def test_arrays_keep_their_order_and_are_aligned(order, before):
    """A matrix product rounds differently for another memory order."""
    array = np.asarray(np.arange(6.0).reshape(2, 3), order=order)
    back = unpack(pack({}, {"odd": np.zeros(before, np.uint8), "x": array})).arrays["x"]
    np.testing.assert_array_equal(back, array)
    assert back.strides == array.strides
    assert back.flags.aligned


GOOD = pack({"kind": "answer"}, {"x": np.arange(4.0)})


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(place, change):
    bad = bytearray(GOOD)
    bad[place] ^= change
    with pytest.raises(WireError):
        unpack(bytes(bad))


@given(st.integers(0, len(GOOD) - 1))
def test_any_cut_is_noticed(length):
    with pytest.raises(WireError):
        unpack(GOOD[:length])


def _signed(body):
    return body + struct.pack("<I", zlib.crc32(body))


def _message(header, rest=b"", version=wire.VERSION):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return _signed(struct.pack("<5sBI", b"kipax", version, len(text)) + text + rest)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no message"),
        (None, "no message"),
        (pickle.dumps({"kind": "answer"}), "no message"),
        (_message({"arrays": []}, version=1), "format 1; this kipax speaks format 2"),
        (_message(b"[]"), "without a header"),
        (_message(b"\xff"), "without a header"),
        (_message({}), "without a header"),
        (_message(b'{"arrays":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "without a header"),
        (_message({"arrays": [["x", "<f8", [2], "C"]]}, b"\0" * 15), "wrong size: x is cut off"),
        (_message({"arrays": [["x", "<f8", [1], "C"]]}, b"\0" * 9), "wrong size: 1 bytes too many"),
        (_message({"arrays": [["x", "|O", [1], "C"]]}, b"\0" * 8), "refused an array described"),
        (_message({"arrays": [["x", "<f8", [-1], "C"]]}), "refused an array described"),
        (_message({"arrays": [["x", "<f8", ["1"], "C"]]}), "refused an array described"),
        (_message({"arrays": [["x", "<f8", [10**30], "C"]]}), "refused an array described"),
        (_message({"arrays": [["x", "<f8", {}, "C"]]}, b"\0" * 8), "refused an array described"),
        (_message({"arrays": [["x", "<f8", "", "C"]]}, b"\0" * 8), "refused an array described"),
        (_message({"arrays": [5]}), "refused an array described"),
        (_message({"arrays": [["x", "<f8", [0], "A"]]}), "refused an array described"),
        (_message({"arrays": [["x", "<f8", [0] * 9, "C"]]}), "refused an array described"),
    ],
)
def test_refused(data, words):
    with pytest.raises(WireError, match=words) as caught:
        unpack(data)
    assert len(str(caught.value).splitlines()) == 1


def test_what_cannot_be_sent(monkeypatch):
    with pytest.raises(UsageError, match="x is <c16"):
        pack({}, {"x": np.ones(2, complex)})
    with pytest.raises(UsageError, match="O"):
        pack({}, {"x": np.array([None])})
    monkeypatch.setattr(wire, "LIMIT", 100)
    with pytest.raises(UsageError, match="at most"):
        pack({}, {"x": np.ones(20)})


SPEC = KernelSpec(architectures.from_name("convnet2", W_std=1.3), "nngp", "portable")
TASKS = [
    TargetPassTask(
        position=3,
        version=7,
        kernel=SPEC,
        rows=TargetRows(np.array([5, 2, 2]), 11, 2**32 - 1),
        height=3,
        used=2,
        alpha=np.arange(6.0).reshape(3, 2),
        loss="mse",
        count=9,
    ),
    SupportKernelTask(position=0, version=1, kernel=SPEC, block=Block((0, 2), (2, 5))),
    SupportVJPTask(
        position=1,
        version=1,
        kernel=SPEC,
        block=Block((0, 2), (2, 5)),
        cotangent=np.ones((2, 3), np.float32),
    ),
    GramTask(position=0, version=1, kernel=SPEC, rows=TargetRows(np.arange(2)), used=2),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.op)
def test_tasks(task):
    message = unpack(pack_task(task, {"kind": "task", "lease": 1}))
    assert message.get("lease", int) == 1
    back = unpack_task(message)
    assert type(back) is type(task)
    for field in dataclasses.fields(task):
        one, other = getattr(task, field.name), getattr(back, field.name)
        if field.name == "rows":
            np.testing.assert_array_equal(one.indices, other.indices)
            one, other = ((r.step, r.augmentation_seed) for r in (one, other))
        np.testing.assert_equal(one, other)


@pytest.mark.parametrize(
    "change",
    [
        {"op": "run"},
        {"kernel": [{"layers": ["exec"]}, "ntk", "auto"]},
        {"kernel": [SPEC.architecture.to_dict(), "ntk", "shell"]},
        {"block": [[0, 1], [0, 1]]},
        {"loss": "hinge"},
        {"rows": [1]},
        {"count": "9"},
        {"cotangent": 1},
        {"op": "support_kernel"},
        {"position": None, "op": None},
    ],
)
def test_tasks_that_make_no_sense(change):
    message = unpack(pack_task(TASKS[0], {}))
    message.header["task"].update(change)
    with pytest.raises(WireError, match="refused a task"):
        unpack_task(message)


def test_fields_have_types():
    message = unpack(pack({"lease": "3", "flag": True}))
    for name in ("lease", "flag", "missing"):
        with pytest.raises(WireError, match=f"needs {name}"):
            message.get(name, int)
