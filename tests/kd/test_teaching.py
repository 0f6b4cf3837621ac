"""Trainings from labels: the file that they leave, the same bytes when resumed, wrong settings."""

import dataclasses
import json

import numpy as np
import pytest

import kipax
from kipax.errors import FailedRunError, UsageError
from kipax.kd import (
    TeacherConfig,
    run_teacher,
)
from kipax.networks import load_network
from tests.kd.cases import in_pieces, network_files


def test_a_teacher_is_a_file_that_reads_digits(taught):
    data = kipax.load_dataset("digits")
    network = kipax.load_network(taught.workdir)
    measured = np.mean(network.predict(data.x_test) == data.y_test)
    assert measured == pytest.approx(taught.test_accuracy)
    assert taught.test_accuracy > 0.6
    assert taught.network.metadata["rule"] == "best step by validation accuracy"
    lines = [json.loads(s) for s in (taught.workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [6 * n for n in range(1, 11)]
    best = max(line["validation_accuracy"] for line in lines)
    chosen = [line for line in lines if line["step"] == taught.best_step]
    assert chosen[0]["validation_accuracy"] == best
    assert (taught.workdir / "curve.png").exists()
    last = load_network(taught.workdir / "network_last.npz")
    assert last.metadata["step"] == 60
    json.dumps(taught.summary())


def test_a_teacher_in_pieces_has_the_bytes_of_one_run(tmp_path):
    config = TeacherConfig(width=4, steps=12, batch_size=32)
    whole = run_teacher(config, workdir=tmp_path / "whole")
    again = run_teacher(config, workdir=tmp_path / "again")
    assert network_files(whole.workdir) == network_files(again.workdir)
    hurried = dataclasses.replace(config, max_seconds=1e-9)
    (cut, stops) = in_pieces(lambda: run_teacher(hurried, workdir=tmp_path / "cut", resume=True))
    assert stops >= 10
    assert network_files(cut.workdir) == network_files(whole.workdir)
    metrics = [(f.workdir / "metrics.jsonl").read_text() for f in (whole, cut)]
    assert metrics[0] == metrics[1]
    with pytest.raises(UsageError, match="this run already: continue it with --resume"):
        run_teacher(config, workdir=tmp_path / "whole")
    other = dataclasses.replace(config, learning_rate=0.5)
    with pytest.raises(UsageError, match=r"--learning_rate was 0\.002, now 0\.5"):
        run_teacher(other, workdir=tmp_path / "whole", resume=True)


def test_a_teacher_that_diverges_says_so(tmp_path):
    config = TeacherConfig(
        width=4, steps=40, learning_rate=1e30, normalisation="none", optimizer="momentum"
    )
    with pytest.raises(FailedRunError, match=r"not finite after step .*smaller learning_rate"):
        run_teacher(config, workdir=tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"network": "convnut"}, "unknown network"),
        ({"preset": "big"}, "unknown preset 'big'"),
        ({"optimizer": "sgd"}, "unknown optimizer"),
        ({"augmentation": "hi"}, "unknown augmentation 'hi'; did you mean high"),
        ({"learning_rate": 0.0}, "learning_rate must be positive; got 0"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative"),
        ({"smoothing": 1.0}, "smoothing runs from 0 to below 1"),
        ({"seed": -1}, "seed must lie between"),
        ({"steps": 2.5}, "steps must be a whole number; got 2.5"),
    ],
)
def test_wrong_teacher_configs(fields, message):
    with pytest.raises(UsageError, match=message):
        TeacherConfig(**fields)
