"""Evaluation's command lines as a user types them, and the scripts of the paper's figures."""

import json
import signal
import time

import pytest
from PIL import Image

from tests.test_programs import _run, _start

NETWORK = ["--protocol=kip-nn", "--width=8", "--grid=small", "--losses=mse", "--eval_examples=60"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished KIP run of the fc1 kernel."""
    path = tmp_path_factory.mktemp("run")
    flags = ["--architecture=fc1", "--support=10", "--steps=4", "--target_batch=50"]
    flags += ["--checkpoint_every=2"]
    status, _, err = _run("kip", *flags, f"--workdir={path}")
    assert status == 0, err
    assert f'next: kipax.load("{path}/support.npz")' in err
    assert f"kipax evaluate {path}/support.npz --baselines" in err
    return path


def test_krr_with_baselines(folder):
    status, out, err = _run("evaluate", str(folder), "--baselines", "--draws=2")
    assert status == 0, err
    result = json.loads(out)  # one line, and nothing else, on stdout
    rows = {r["subject"]: r["accuracy"] for r in result["results"]}
    assert list(rows) == ["KIP", "Label Solve", "random real"]
    assert rows["KIP"] > rows["random real"]
    assert "krr: accuracy in % on 360 test images, nothing is chosen; ± over 2 draws" in err
    assert any(line.startswith("random real") and "±" in line for line in err.splitlines())
    assert (folder / "support-evaluate.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "message", "expected"),
    [
        ([], "one SUPPORT.npz is needed beside the flags; got nothing", 2),
        (["a.npz", "b.npz"], "got a.npz b.npz", 2),
        (["missing.npz"], "could not read missing.npz: No such file", 1),
        (["missing.npz", "--protocol=kipnn"], "did you mean kip-nn?", 2),
        (["missing.npz", "--steps=0"], "steps must be a positive whole number; got 0", 2),
        (["tests"], "tests holds no support.npz", 2),
    ],
)
def test_errors_are_one_sentence(words, message, expected):
    status, out, err = _run("evaluate", *words)
    assert status == expected
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
    assert out == ""


def test_data_that_do_not_fit_are_refused(folder, tmp_path):
    import numpy as np

    x, y = np.zeros((20, 8, 8, 3), np.uint8), np.arange(20) % 10
    np.savez(tmp_path / "colour.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    status, _, err = _run("evaluate", str(folder), f"--dataset=npz:{tmp_path / 'colour.npz'}")
    assert status == 2
    assert "this support set takes images (8, 8, 1) of 10 classes" in err.splitlines()[-1]


@pytest.mark.slow
def test_a_killed_grid_goes_on_where_it_stopped(folder, tmp_path):
    flags = [str(folder), *NETWORK, "--steps=400", "--seeds=2"]
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    status, out, err = _run("evaluate", *flags, f"--out={whole}")
    assert status == 0, err
    process = _start("evaluate", *flags, f"--out={cut}")
    deadline = time.monotonic() + 120
    while not (cut.exists() and len(cut.read_text().splitlines()) >= 2):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    before = cut.read_text().splitlines()
    assert 2 <= len(before) < 5
    status, again, err = _run("evaluate", *flags, f"--out={cut}")
    assert status == 0, err
    assert json.loads(again) == json.loads(out)
    after = cut.read_text().splitlines()
    assert after[: len(before)] == before  # seconds included: not trained again
    assert len(after) == 5


@pytest.mark.parametrize(
    ("script", "flags", "shown"),
    [
        pytest.param(
            "table2", [*NETWORK[1:], "--steps=5", "--seeds=1"], "change", marks=pytest.mark.slow
        ),
        pytest.param(
            "figure2",
            [*NETWORK[1:3], "--steps=4", "--seeds=1"],
            "batch normalisation",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "figure3",
            [*NETWORK[1:], "--steps=4", "--widths=4", "--checkpoints"],
            "KIP steps",
            marks=pytest.mark.slow,
        ),
        ("figure4", [*NETWORK[1:], "--steps=4"], "above natural"),
        ("figure8", ["--eval_examples=60"], "band 5"),
    ],
)
def test_the_papers_scripts_run(folder, script, flags, shown):
    status, out, err = _run(f"paper.{script}", str(folder), *flags)
    assert status == 0, err
    assert json.loads(out)
    assert shown in err


def test_figure_5_shows_first_and_last_images(folder, tmp_path):
    flags = ["--classes=seven,7,0", f"--workdir={tmp_path}"]
    status, _, err = _run("paper.figure5", str(folder), *flags)
    assert status == 2
    assert "unknown class 'seven'" in err.splitlines()[-1]
    status, out, err = _run("paper.figure5", str(folder), flags[0].replace("seven,", ""), flags[1])
    assert status == 0, err
    found = json.loads(out)
    assert 0 < found["change"] < 255
    assert found["own"] == 1  # after four steps
    with Image.open(tmp_path / "figure5.png") as picture:
        assert picture.height > 100


def test_figure_7_judges_each_dimension(folder, tmp_path):
    flags = ["--real_draws=3", f"--workdir={tmp_path}"]
    status, out, err = _run("paper.figure7", str(folder), *flags)
    assert status == 0, err
    found = json.loads(out)
    assert [row["set"] for row in found["dimension"]] == ["step 0", "step 1", "step 4"]
    assert len(found["verdict"]) == len(found["real"]) == 4
    for kind, verdict in found["verdict"].items():
        gain = found["dimension"][-1][kind] - found["dimension"][0][kind]
        expected = "holds" if gain > 0 else "does not hold"
        assert verdict == ("within noise" if abs(gain) <= 2 * found["real"][kind][1] else expected)
    assert "random real, 3 draws" in err
    assert (tmp_path / "figure7.png").exists()


def test_figure_A1_compares_drops(folder, tmp_path):
    flags = ["--eval_examples=60", "--draws=5", "--keep=20,50", f"--workdir={tmp_path}"]
    status, out, err = _run("paper.figureA1", f"{folder},digits-convnet-10", *flags)
    assert status == 0, err
    found = json.loads(out)
    assert sum(found["verdicts"].values()) == 4  # two sets at two percentages
    point = found["runs"]["digits-convnet-10"]["20"]
    assert point["natural"] < point["learned"] < 1  # two of ten images know two classes at most
    assert point["verdict"] in ("holds", "within noise")
    assert (tmp_path / "figureA1.png").exists()


@pytest.mark.slow
def test_figure_6_learns_with_and_without_labels(tmp_path):
    flags = ["--architecture=fc1", "--steps=3", "--target_batch=50", "--eval_examples=60"]
    flags.append(f"--folder={tmp_path / 'runs'}")
    status, out, err = _run("paper.figure6", *flags)
    assert status == 0, err
    runs = json.loads(out)["runs"]
    assert runs["fixed labels"]["entropy"] == 0 < runs["learned labels"]["entropy"]
    assert "learned labels test better: " in err
    assert (tmp_path / "runs-digits-10" / "figure6.png").exists()


@pytest.mark.slow
def test_figure_1_runs(tmp_path):
    flags = ["--kernels=fc1,fc2", "--steps=2", "--target_batch=20", "--eval_examples=60"]
    status, out, err = _run("paper.figure1", *flags, f"--folder={tmp_path / 'runs'}")
    assert status == 0, err
    assert set(json.loads(out)["accuracy"]) == {"all", "fc1", "fc2"}
    assert "learned with" in err


def test_both_losses_are_compared(tmp_path):
    flags = ["--architecture=fc1", "--steps=3", "--target_batch=20", "--temperature=0.2"]
    command = ("losses", *flags, "--seeds=2", f"--workdir={tmp_path}")
    status, out, err = _run(*command)
    assert status == 0, err
    rows = json.loads(out)["rows"]
    assert rows.keys() == {"mse", "xent"}
    assert all(len(row["validation"]) == len(row["test"]) == 2 for row in rows.values())
    assert {p.name for p in tmp_path.iterdir()} == {"mse-0", "mse-1", "xent-0", "xent-1"}
    status, again, err = _run(*command)  # finished runs are found
    assert (status, again) == (0, out), err


def test_the_papers_rule_over_a_runs_checkpoints(folder):
    status, out, err = _run("checkpoints", f"--workdir={folder}")
    assert status == 0, err
    found = json.loads(out)
    accuracies = list(found["checkpoints"].values())
    assert sorted(found["checkpoints"]) == ["2", "4"]  # the images of step 0 are no result
    assert "2 and not five: a run with a smaller --checkpoint_every" in err
    assert found["test_accuracy"] == found["checkpoints"][str(found["lowest_loss_step"])]
    assert min(accuracies) <= found["mean"] <= max(accuracies)
    status, _, err = _run("checkpoints", "--workdir=nowhere")
    assert status == 2
    assert "workdir is the folder of a KIP run; there is no nowhere" in err.splitlines()[-1]
