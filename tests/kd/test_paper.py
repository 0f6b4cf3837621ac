"""The scripts of the papers' tables and figures, at their smallest."""

import json

import pytest

from tests.test_programs import _run

TINY = ["--width=8", "--images=60", "--steps=2", "--batch_size=16", "--eval_examples=60"]


def _table(script, teacher, folder, *flags):
    """The JSON line and the messages of a script that succeeds."""
    where = [f"--teacher={teacher}", f"--workdir={folder}"]
    status, out, err = _run(f"paper.{script}", *where, *flags)
    assert status == 0, err
    return json.loads(out), err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "table", "flags", "row"),
    [
        ("single_image", "signals,losses", [], "top 3"),
        ("single_image", "blends", [], "blend:0.5:noise,photo"),
        ("surrogate", "data", ["--others=digits"], "digits"),
        ("surrogate", "balance", ["--part=20"], "shaders, balanced, mix none"),
        ("surrogate", "boundary", ["--attacked=40"], "noise, moved"),
    ],
)
def test_a_table_is_printed_with_its_claims(taught, tmp_path, script, table, flags, row):
    found, told = _table(script, taught.workdir, tmp_path, *TINY, f"--table={table}", *flags)
    assert row in found[table.split(",")[0]]["rows"]
    assert all(v in ("holds", "does not hold", "within noise") for v in _claims(found).values())
    assert row in told
    assert "test accuracy" in told
    assert (tmp_path / "results.jsonl").exists()


def _claims(found):
    return {k: v for t in found.values() if isinstance(t, dict) for k, v in t["claims"].items()}


@pytest.mark.slow
def test_a_distilled_set_is_the_teacher_of_the_bridge(tmp_path):
    flags = ["--images=40", "--steps=2", "--eval_examples=60", "--others=digits"]
    found, _ = _table("bridge", "digits-convnet-10", tmp_path, *flags, "--student=convnet1")
    assert "digits" in found["sources"]["rows"]


@pytest.mark.slow
def test_planes_are_drawn(tmp_path):
    teacher = tmp_path / "teacher"
    flags = ["--network=planar", "--steps=10", "--width=8", f"--workdir={teacher}"]
    assert _run("teacher", *flags)[0] == 0
    flags = ["--student=planar", "--dataset=digits", "--sources=data,shaders", *TINY]
    found, _ = _table("planar", teacher, tmp_path / "students", *flags)
    assert set(found["students"]) == {"data", "shaders"}
    assert (tmp_path / "students" / "planes.png").stat().st_size > 10_000
