"""How a teacher's answers are kept: whole, in half precision, the largest logits alone."""

import dataclasses

import numpy as np
import pytest

from kipax.data import load_dataset
from kipax.errors import UsageError
from kipax.kd import NetworkTeacher, run_kd
from kipax.kd.answers import KEPT, decode, encode
from kipax.students import Outputs
from tests.kd.cases import SMALL

RNG = np.random.default_rng(0)
OUTPUTS = Outputs(
    RNG.normal(size=(7, 12)).astype(np.float32), RNG.normal(size=(7, 4)).astype(np.float32), {}
)


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("size", [0, 4])
def test_what_is_kept_comes_back(kept, size):
    outputs = OUTPUTS._replace(penultimate=OUTPUTS.penultimate[:, :size])
    rows = encode(outputs, kept, 3)
    assert rows.dtype == {"full": np.float32, "half": np.float16, "top_k": np.uint16}[kept]
    assert rows.shape == (7, (6 if kept == "top_k" else 12) + size)
    found = decode(rows, kept, 3, 12)
    tolerance = 0 if kept == "full" else 1e-3
    np.testing.assert_allclose(found.penultimate, outputs.penultimate, rtol=tolerance, atol=1e-6)
    if kept == "top_k":
        least = np.sort(OUTPUTS.logits, axis=1)[:, -3:-2]
        expected = np.where(least <= OUTPUTS.logits, OUTPUTS.logits, -np.inf)
    else:
        expected = OUTPUTS.logits
    np.testing.assert_allclose(found.logits, expected, rtol=tolerance, atol=1e-6)


def test_of_few_classes_all_are_kept():
    few = OUTPUTS._replace(logits=OUTPUTS.logits[:, :2])
    found = decode(encode(few, "top_k", 5), "top_k", 5, 2)
    np.testing.assert_allclose(found.logits, few.logits, rtol=1e-3)


def test_what_half_precision_cannot_hold_is_told():
    large = OUTPUTS._replace(logits=1e5 * np.abs(OUTPUTS.logits))
    with pytest.raises(UsageError, match=r"at most 65,504; got .*: take --answers=full"):
        encode(large, "half", 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"answers": "half"}, "half without cached"),
        ({"answers": "top_k", "cached": True}, "keep 5 logits .* needs all: take --answers=half"),
        ({"answers": "quarter"}, "unknown answers"),
    ],
)
def test_answers_that_do_not_serve_are_refused(taught, tmp_path, fields, message):
    with pytest.raises(UsageError, match=message):
        run_kd(
            dataclasses.replace(SMALL, mix="none", **fields),
            teacher=NetworkTeacher(taught.network),
            workdir=tmp_path,
        )


def test_a_student_learns_the_same_from_the_logits_that_it_uses(taught, tmp_path):
    config = dataclasses.replace(
        SMALL, mix="none", cached=True, signal="top_k", top_k=3, steps=6, source="data"
    )
    found = [
        run_kd(
            dataclasses.replace(config, answers=kept),
            teacher=NetworkTeacher(taught.network),
            dataset=load_dataset("digits"),
            workdir=tmp_path / kept,
        )
        for kept in ("full", "top_k")
    ]
    raw = load_dataset("digits").x_test[:50]
    one, other = (result.network.scores(raw) for result in found)
    np.testing.assert_allclose(one, other, atol=0.02 * np.abs(one).max())
    sizes = [(tmp_path / kept / "answers.npz").stat().st_size for kept in ("full", "top_k")]
    assert sizes[1] < 0.5 * sizes[0]
