"""The scripts of the papers' tables and figures, at their smallest."""

import json

import pytest

from tests.test_programs import _run

TINY = ["--width=8", "--steps=2", "--batch_size=16", "--eval_examples=60"]


def _table(script, teacher, folder, *flags):
    """The JSON line and the messages of a script that succeeds."""
    where = [f"--teacher={teacher}", f"--workdir={folder}"]
    status, out, err = _run(f"paper.{script}", *where, *flags)
    assert status == 0, err
    return json.loads(out), err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "table", "flags", "row", "claim"),
    [
        ("single_image", "signals,losses", ["--images=60"], "top 3", "argmax < top 3"),
        ("single_image", "blends", ["--images=60"], "photo", "noise < blend:0.8:noise,photo"),
        ("surrogate", "data", ["--images=60", "--others=digits"], "digits", "noise < leaves"),
        (
            "surrogate",
            "balance",
            ["--part=20"],
            "shaders, balanced, mix none",
            "shaders, long tail, mix none < shaders, balanced, mix none",
        ),
        ("surrogate", "boundary", ["--attacked=40"], "noise, moved", "noise < noise, moved"),
        (
            "compress",
            "methods",
            ["--images=100", "--student=convnet1"],
            "clusters",
            "regression < CRD without labels",
        ),
        ("dapt", "methods,more", ["--part=50"], "SRRL", "labels alone < SRRL"),
    ],
)
def test_a_table_is_printed_with_its_claims(taught, tmp_path, script, table, flags, row, claim):
    found, told = _table(script, taught.workdir, tmp_path, *TINY, f"--table={table}", *flags)
    assert row in found[table.split(",")[0]]["rows"]
    claims = found[table.split(",")[0]]["claims"]
    assert next(iter(claims)) == claim
    assert f"  {claim}: {claims[claim]}" in told
    assert (tmp_path / "results.jsonl").exists()


@pytest.mark.slow
def test_a_flag_without_effect_is_refused(taught, tmp_path):
    flags = [f"--teacher={taught.workdir}", f"--workdir={tmp_path}", "--loss=l1"]
    status, _, err = _run("paper.single_image", "--table=losses", *flags)
    assert status == 2
    assert "every cell says its loss; got --loss too" in err


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
    flags = ["--student=planar", "--dataset=digits", "--sources=data,shaders", "--images=60", *TINY]
    found, _ = _table("planar", teacher, tmp_path / "students", *flags)
    assert set(found["students"]) == {"data", "shaders"}
    assert (tmp_path / "students" / "planes.png").stat().st_size > 10_000
