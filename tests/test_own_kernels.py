"""Runs, files and evaluations with kernels that are no network's."""

import dataclasses
import json

import numpy as np
import pytest

import kipax
from kipax import KIPConfig, LabelSolveConfig, load_dataset, run_kip, run_label_solve
from kipax.distill.config import default_workdir
from kipax.errors import UsageError
from kipax.transfer import EvaluateConfig, evaluate
from tests.kernels.test_functions import cosine, linear

SMALL = {"steps": 3, "target_batch": 50, "eval_examples": 50, "eval_every": 2}
OWN = KIPConfig(architecture="python:cosine", **SMALL)
MODULE = "from tests.kernels.test_functions import cosine\n"


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", validation_examples=180)


@pytest.fixture(scope="module")
def own_run(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "own"
    return run_kip(OWN, dataset=digits, workdir=folder, kernel_fn=cosine)


def _asymmetric(x1, x2):
    return linear(x1, x2) + linear(x1, x2 * 0 + 1)


# -- radial kernels ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rbf:0.5", "laplace"])
def test_kip_and_label_solve_with_a_radial_kernel(digits, tmp_path, name):
    config = KIPConfig(architecture=name, **SMALL)
    result = run_kip(config, dataset=digits, workdir=tmp_path / "kip")
    loaded = kipax.load(tmp_path / "kip")
    np.testing.assert_array_equal(
        loaded.scores(digits.x_test[:9]), result.support.scores(digits.x_test[:9])
    )
    assert (loaded.architecture.name, loaded.kernel) == (name, name.partition(":")[0])
    assert f"with the {loaded.kernel} kernel (gamma" in str(loaded)
    config = LabelSolveConfig(architecture=name)
    solved = run_label_solve(config, dataset=digits, workdir=tmp_path / "solved")
    assert solved.evaluation.test_accuracy > solved.initial.test_accuracy > 0.5


def test_configs_know_which_kernel_belongs_to_what():
    assert (KIPConfig().kernel, KIPConfig(architecture="rbf").kernel) == ("ntk", "rbf")
    assert KIPConfig(sample_architectures="rbf:0.5,rbf:2").kernel == "rbf"
    assert default_workdir(KIPConfig(architecture="rbf:0.5")) == "runs/digits-rbf-0.5-10"
    for wrong, message in (
        ({"kernel": "nngp"}, "leave it out"),
        ({"kernel": "ntk"}, "leave it out"),
        ({"backend": "fused"}, "computes kernels of networks"),
        ({"sample_architectures": "rbf,convnet"}, "unknown kernel 'rbf'"),
    ):
        with pytest.raises(UsageError, match=message):
            KIPConfig(architecture="rbf", **wrong)
    with pytest.raises(UsageError, match="a function of yours is run alone"):
        KIPConfig(sample_architectures="python:a,python:b")


def test_evaluation_of_a_radial_set(digits, tmp_path):
    config = KIPConfig(architecture="rbf", **SMALL)
    support = run_kip(config, dataset=digits, workdir=tmp_path / "run").support
    config = EvaluateConfig(architectures="convnet,laplace", baselines=True, draws=2)
    found = evaluate(support, config, dataset=digits).results
    assert {row.network for row in found} == {"convnet", "laplace"}
    assert all(row.accuracy > 0.3 for row in found)
    with pytest.raises(UsageError, match=r"of none, the rbf kernel .*--architectures, or take --p"):
        evaluate(support, EvaluateConfig(protocol="kip-nn"), dataset=digits)
    network = EvaluateConfig(
        protocol="kip-nn", architectures="fc1", width=4, steps=2, grid="one", losses="mse"
    )
    assert evaluate(support, network, dataset=digits).results[0].accuracy is not None


# -- functions of the user's ---------------------------------------------------------------------


def test_a_run_records_the_name_and_the_values(own_run):
    stored = json.loads((own_run.workdir / "run.json").read_text())
    assert stored["config"]["architecture"] == stored["kernel"]["name"] == "python:cosine"
    described = own_run.support.metadata["architecture"]
    assert described == stored["kernel"]
    assert "kernel python:cosine" in str(own_run.support)


def test_a_set_is_loaded_with_its_function(own_run, digits, tmp_path):
    x = digits.x_test[:9]
    loaded = kipax.load(own_run.workdir, kernel_fn=cosine)
    np.testing.assert_array_equal(loaded.scores(x), own_run.support.scores(x))
    loaded.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (own_run.workdir / "support.npz").read_bytes()
    with pytest.raises(UsageError, match=r"kernel python:cosine, a function.*kernel_fn=\.\.\."):
        kipax.load(own_run.workdir)
    with pytest.raises(UsageError, match=r"not the kernel that .* calls python:cosine"):
        kipax.load(own_run.workdir, kernel_fn=linear)
    with pytest.raises(UsageError, match="made with convnet, which kipax computes itself"):
        kipax.load("digits-convnet-10", kernel_fn=cosine)


def test_a_run_goes_on_with_the_same_function_alone(own_run, digits, tmp_path):
    whole = run_kip(
        dataclasses.replace(OWN, steps=5), dataset=digits, workdir=tmp_path / "a", kernel_fn=cosine
    )
    run_kip(OWN, dataset=digits, workdir=tmp_path / "b", kernel_fn=cosine)
    more = dataclasses.replace(OWN, steps=5)
    again = {"dataset": digits, "workdir": tmp_path / "b", "resume": True}
    with pytest.raises(UsageError, match=r"not the kernel that the run in .* calls python:cosine"):
        run_kip(more, kernel_fn=linear, **again)
    with pytest.raises(UsageError, match="--architecture was python:cosine, now python:other"):
        run_kip(dataclasses.replace(more, architecture="python:other"), kernel_fn=cosine, **again)
    with pytest.raises(UsageError, match="give it as kernel_fn"):
        run_kip(more, **again)
    np.testing.assert_array_equal(
        run_kip(more, kernel_fn=cosine, **again).support.images, whole.support.images
    )


def test_blocks_change_nothing_but_rounding(own_run, digits, tmp_path):
    less = dataclasses.replace(OWN, memory_gb=1e-4)
    small = run_kip(less, dataset=digits, workdir=tmp_path, kernel_fn=cosine)
    stored = json.loads((tmp_path / "run.json").read_text())
    assert stored["plan"]["target_rows"] < 50
    np.testing.assert_allclose(small.support.images, own_run.support.images, atol=1e-4)


def test_label_solve_and_evaluation_with_a_function(digits, tmp_path):
    config = LabelSolveConfig(architecture="python:cosine")
    solved = run_label_solve(config, dataset=digits, workdir=tmp_path, kernel_fn=cosine)
    assert solved.evaluation.test_accuracy > solved.initial.test_accuracy
    support = kipax.load(tmp_path, kernel_fn=cosine)
    config = EvaluateConfig(baselines=True, draws=2)
    rows = evaluate(support, config, dataset=digits).results
    assert rows[0].network == "python:cosine"
    assert rows[0].accuracy == pytest.approx(solved.evaluation.test_accuracy)


def test_a_function_needs_a_name_and_a_name_a_function(digits, tmp_path):
    with pytest.raises(UsageError, match="architecture='python:NAME'; got 'convnet'"):
        run_kip(KIPConfig(**SMALL), dataset=digits, workdir=tmp_path / "a", kernel_fn=cosine)
    with pytest.raises(UsageError, match="give it as kernel_fn"):
        run_kip(OWN, dataset=digits, workdir=tmp_path / "a")
    with pytest.raises(UsageError, match="a kernel is symmetric"):
        run_kip(OWN, dataset=digits, workdir=tmp_path / "a", kernel_fn=_asymmetric)
    assert not (tmp_path / "a").exists()


def test_a_command_finds_a_module_here(digits, tmp_path, monkeypatch):
    (tmp_path / "my_own_kernels.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    config = dataclasses.replace(OWN, architecture="python:my_own_kernels:cosine")
    result = run_kip(config, dataset=digits)
    assert result.workdir.name == "digits-python-my_own_kernels-cosine-10"
    with pytest.raises(UsageError, match="has no attribute 'sine'"):
        run_kip(dataclasses.replace(OWN, architecture="python:my_own_kernels:sine"), dataset=digits)


def test_commands_are_given_the_function_of_a_set(own_run, tmp_path, monkeypatch):
    (tmp_path / "my_kernels_of_sets.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="in a command give --kernel_fn=MODULE:FUNCTION"):
        evaluate(own_run.workdir)
    named = EvaluateConfig(
        kernel_fn="my_kernels_of_sets:cosine",
        validation_examples=180,
        checkpoints=True,
        out=str(tmp_path / "out.jsonl"),
    )
    (row,) = evaluate(own_run.workdir, named).results
    assert row.subject == "KIP"
    with pytest.raises(UsageError, match="has no attribute 'sine'"):
        evaluate(own_run.workdir, EvaluateConfig(kernel_fn="my_kernels_of_sets:sine"))
    with pytest.raises(UsageError, match="leave kernel_fn out"):
        evaluate("digits-convnet-10", EvaluateConfig(kernel_fn="my_kernels_of_sets:cosine"))
    with pytest.raises(UsageError, match="a set in memory has its own"):
        evaluate(own_run.support, EvaluateConfig(kernel_fn="my_kernels_of_sets:cosine"))
