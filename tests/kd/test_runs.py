"""Whole trainings and distillations: the same bytes when resumed, what they leave and refuse."""

import dataclasses
import json

import numpy as np
import pytest

import kipax
from kipax.data import Standard
from kipax.errors import FailedRunError, FileError, OutOfTime, UsageError
from kipax.kd import (
    Ensemble,
    FunctionTeacher,
    ImageSpace,
    KDConfig,
    KernelTeacher,
    NetworkTeacher,
    TeacherConfig,
    diagnose_source,
    kernel_teacher,
    run_kd,
    run_teacher,
)
from kipax.kd.distilling import _Run
from kipax.kd.opening import open_teacher
from kipax.kd.stored import StoredImages, ask_teacher
from kipax.networks import load_network
from kipax.report import Reporter
from kipax.ridge import accuracy
from kipax.runs import RunFolder

SMALL = KDConfig(width=8, images=300, steps=30, batch_size=32, learning_rate=0.01)
DIGITS = ImageSpace([8, 8, 1], 0, 16, [4.9], [6])  # as a user may write it


class Listener(Reporter):
    def __init__(self):
        self.said = []

    def say(self, sentence):
        self.said.append(sentence)


def _in_pieces(run, most=200):
    """Calls `run`, which stops after each progress, until it ends."""
    stops = 0
    for _ in range(most):
        try:
            return run(), stops
        except OutOfTime:
            stops += 1
    raise AssertionError("never finished")


def _files(folder):
    return {f: (folder / f).read_bytes() for f in ("network.npz", "network_last.npz")}


# -- teachers ------------------------------------------------------------------------------------


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
    assert _files(whole.workdir) == _files(again.workdir)
    hurried = dataclasses.replace(config, max_seconds=1e-9)
    (cut, stops) = _in_pieces(lambda: run_teacher(hurried, workdir=tmp_path / "cut", resume=True))
    assert stops >= 10
    assert _files(cut.workdir) == _files(whole.workdir)
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


# -- students ------------------------------------------------------------------------------------


def test_a_student_learns_from_formulae_what_the_teacher_knows(taught, tmp_path):
    config = dataclasses.replace(SMALL, width=16, images=1500, steps=250)
    listener = Listener()
    result = run_kd(
        config, teacher=NetworkTeacher(taught.network), workdir=tmp_path, reporter=listener
    )
    assert result.test_accuracy > 0.4  # chance is 0.1
    assert result.facts["agreement"] > 0.5
    assert any("the teacher sees" in sentence for sentence in listener.said)
    for name in ("network.npz", "network_last.npz", "metrics.jsonl", "curve.png", "seen.png"):
        assert (tmp_path / name).exists(), name
    student = load_network(tmp_path)
    assert student.metadata["source"].startswith("pictures of")
    assert student.metadata["teacher"]["teacher_hash"]
    assert student.class_names == taught.network.class_names
    json.dumps(result.summary())


@pytest.mark.parametrize("cached", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_distillation_in_pieces_has_the_bytes_of_one_run(taught, tmp_path, cached):
    mix = {"cached": True, "mix": "none"} if cached else {"augmentation": "crop"}
    config = dataclasses.replace(SMALL, steps=12, **mix)
    common = {"teacher": NetworkTeacher(taught.network)}
    whole = run_kd(config, workdir=tmp_path / "whole", **common)
    hurried = dataclasses.replace(config, max_seconds=1e-9)
    cut, stops = _in_pieces(
        lambda: run_kd(hurried, workdir=tmp_path / "cut", resume=True, **common)
    )
    assert stops >= 10
    assert _files(cut.workdir) == _files(whole.workdir)


@pytest.mark.slow
def test_a_cached_teacher_says_what_a_live_one_says(taught, tmp_path):
    # Plain descent: Adam magnifies the rounding of the first steps.
    config = dataclasses.replace(
        SMALL, steps=10, mix="none", optimizer="momentum", learning_rate=1e-3
    )
    teacher = NetworkTeacher(taught.network)
    live = run_kd(config, teacher=teacher, workdir=tmp_path / "live")
    cached = dataclasses.replace(config, cached=True)
    kept = run_kd(cached, teacher=teacher, workdir=tmp_path / "kept")
    data = kipax.load_dataset("digits")
    np.testing.assert_allclose(
        kept.network.scores(data.x_test), live.network.scores(data.x_test), atol=5e-3
    )
    for changing in ({"augmentation": "crop"}, {"mix": "mixup"}):
        other = dataclasses.replace(cached, **changing)
        with pytest.raises(UsageError, match="a cached teacher is asked about images as they are"):
            run_kd(other, teacher=teacher, workdir=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_answers_of_another_teacher_are_not_taken(taught, tmp_path):
    config = dataclasses.replace(SMALL, steps=4, cached=True, mix="none")
    run_kd(config, teacher=NetworkTeacher(taught.network), workdir=tmp_path)
    other = FunctionTeacher(lambda x: np.zeros((len(x), 10)), DIGITS, tuple("0123456789"))
    with pytest.raises(UsageError, match="--resume needs the teacher and source of the run"):
        run_kd(config, teacher=other, workdir=tmp_path, resume=True)
    # The files themselves are known by teacher and images.
    folder, images = RunFolder(tmp_path), StoredImages(np.zeros((5, 8, 8, 1), np.uint8), 0.0, 16.0)
    kept = (tmp_path / "answers.npz").read_bytes()
    np.testing.assert_array_equal(ask_teacher(folder, other, images, Reporter()), 0)
    assert (tmp_path / "answers.npz").read_bytes() != kept


# -- other teachers ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_distilled_set_teaches(tmp_path):
    data = kipax.load_dataset("digits").hold_out(200)
    support = kipax.run_kip(
        kipax.KIPConfig(architecture="fc1", steps=5, target_batch="100"), workdir=tmp_path / "kip"
    ).support
    teacher = kernel_teacher(support, data)
    # The factor is a minimum of the cross-entropy on the validation images.
    scores = support.scores(data.x_validation)

    def loss(factor):
        z = factor * scores
        z = z - z.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        return -np.mean(log_p[np.arange(200), data.y_validation])

    assert loss(teacher.scale) < min(loss(teacher.scale * 1.3), loss(teacher.scale / 1.3))
    raw = data.x_test[:50].astype(np.float32)
    logits = teacher.logits(raw, teacher.preprocessor.apply(raw))
    np.testing.assert_allclose(logits, teacher.scale * support.scores(raw), rtol=1e-5)
    assert kernel_teacher(support).scale == 10.0
    config = dataclasses.replace(SMALL, source="data", images=400, steps=150)
    result = run_kd(config, teacher=teacher, workdir=tmp_path / "kd")
    assert result.network.metadata["config"]["preset"] == "bridge"
    assert (tmp_path / "kd" / "answers.npz").exists()
    kernel = accuracy(support.scores(data.x_test), data.y_test)
    assert result.test_accuracy > kernel - 0.15


# -- what a review found ---------------------------------------------------------------------------


@pytest.fixture
def sorted_digits(tmp_path):
    """Digits in a file, all zeros first."""
    data = kipax.load_dataset("digits")
    order = np.argsort(data.y_train, kind="stable")
    arrays = {"x_train": data.x_train[order], "y_train": data.y_train[order]}
    arrays |= {"x_test": data.x_test, "y_test": data.y_test}
    np.savez(tmp_path / "sorted.npz", **arrays)
    return tmp_path / "sorted.npz", arrays


def test_held_out_images_of_a_sorted_source_are_of_all_classes(taught, sorted_digits, tmp_path):
    config = dataclasses.replace(SMALL, source=f"dataset:npz:{sorted_digits[0]}", images=1000)
    seen = []

    def knows(raw):
        seen.append(len(raw))
        return np.asarray(
            NetworkTeacher(taught.network).logits(raw, teacher.preprocessor.apply(raw))
        )

    teacher = FunctionTeacher(knows, DIGITS, taught.network.class_names)
    run = _Run.open(config, teacher, None, Reporter())
    images, answers = run.draw(RunFolder(tmp_path))
    held = run.trainee(images, answers).chosen_by[1]
    assert len(held) == 100
    assert len(np.unique(held)) >= 8
    assert run.teacher.space == DIGITS


def test_test_data_in_other_units_or_another_order_are_refused(taught, sorted_digits, tmp_path):
    teacher = NetworkTeacher(taught.network)
    arrays = dict(sorted_digits[1])
    for name in ("x_train", "x_test"):
        arrays[name] = arrays[name] / np.float32(16)
    unit = kipax.Dataset.from_arrays(arrays)
    with pytest.raises(UsageError, match="give images in the same units"):
        run_kd(SMALL, teacher=teacher, dataset=unit, workdir=tmp_path / "a")
    backwards = kipax.Dataset.from_arrays(sorted_digits[1], class_names=list("9876543210"))
    with pytest.raises(UsageError, match="the teacher's in another order"):
        run_kd(SMALL, teacher=teacher, dataset=backwards, workdir=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_given_data_set_is_recorded_by_its_own_name(sorted_digits, tmp_path):
    data = kipax.Dataset.from_arrays(sorted_digits[1], name="mine")
    config = TeacherConfig(width=4, steps=2)
    network = run_teacher(config, dataset=data, workdir=tmp_path / "run").network
    assert network.metadata["dataset"] == "mine"
    assert network.metadata["training_hash"] == data.training_hash
    with pytest.raises(UsageError, match="which are not here: say where they lie with --dataset"):
        run_kd(
            dataclasses.replace(SMALL, source="data"),
            teacher=NetworkTeacher(network),
            workdir=tmp_path / "kd",
        )
    own = dataclasses.replace(SMALL, source="data", dataset=f"npz:{sorted_digits[0]}", steps=2)
    run_kd(own, teacher=NetworkTeacher(network), workdir=tmp_path / "kd")


def test_a_source_that_changed_is_not_resumed_on(taught, sorted_digits, tmp_path):
    path, arrays = sorted_digits
    config = dataclasses.replace(SMALL, source=f"dataset:npz:{path}", steps=4)
    teacher = NetworkTeacher(taught.network)
    run_kd(config, teacher=teacher, workdir=tmp_path / "run")
    np.savez(path, **(arrays | {"x_train": arrays["x_train"][::-1]}))
    with pytest.raises(UsageError, match="--resume needs the source of the run"):
        run_kd(config, teacher=teacher, workdir=tmp_path / "run", resume=True)


def test_drawn_images_are_kept_when_time_is_over(taught, tmp_path):
    config = dataclasses.replace(SMALL, source="noise", images=3000, steps=2, max_seconds=1e-9)
    teacher = NetworkTeacher(taught.network)
    whole, stops = _in_pieces(
        lambda: run_kd(config, teacher=teacher, workdir=tmp_path / "cut", resume=True), most=20
    )
    assert stops >= 3  # twice while drawing, then a step a time
    at_once = dataclasses.replace(config, max_seconds=None)
    other = run_kd(at_once, teacher=teacher, workdir=tmp_path / "whole")
    assert _files(whole.workdir) == _files(other.workdir)


def test_nobody_knows_whether_a_functions_images_may_be_mirrored(tmp_path):
    teacher = FunctionTeacher(lambda x: np.zeros((len(x), 10)), DIGITS, tuple("0123456789"))
    for dataset, mirror, expected in (
        (None, None, False),
        ("digits", None, False),
        (None, True, True),
    ):
        config = dataclasses.replace(SMALL, augmentation="crop", dataset=dataset, mirror=mirror)
        run = _Run.open(config, teacher, None, Reporter())
        assert run.views.mirror is expected
        assert ("(mirrored)" if expected else "(not mirrored)") in run.describe()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mix_alpha": 0.0}, "mix_alpha must be positive"),
        ({"width": 0}, "width must be positive"),
        ({"scale": -1.0}, "scale must be positive"),
        ({"temperature": float("inf")}, "temperature must be positive"),
        ({"preset": "large"}, "unknown preset 'large'"),
    ],
)
def test_wrong_configs(fields, message):
    with pytest.raises(UsageError, match=message):
        KDConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape": (8, 8)}, "height, width and channels"),
        ({"low": 3.0, "high": 3.0}, "from a lower to a higher number"),
        ({"mean": (1.0, 2.0)}, "mean has a number for each of the 1 channels"),
    ],
)
def test_wrong_spaces(fields, message):
    good = {"shape": (8, 8, 1), "low": 0.0, "high": 1.0}
    with pytest.raises(UsageError, match=message):
        ImageSpace(**good | fields)


def _nearest_mean(data):
    means = np.stack([data.x_train[data.y_train == c].mean(axis=0) for c in range(10)])

    def scores(raw):
        assert raw.dtype == np.float32
        raw += 0  # a copy of its own
        return -0.01 * np.sum((raw[:, None] - means[None]) ** 2, axis=(2, 3, 4))

    return scores


def test_any_function_of_raw_images_teaches(tmp_path):
    data = kipax.load_dataset("digits")
    scores = _nearest_mean(data)
    teacher = FunctionTeacher(scores, DIGITS, data.class_names, name="nearest mean")
    assert isinstance(teacher.preprocessor, Standard)
    config = dataclasses.replace(SMALL, steps=100, dataset="digits")
    result = run_kd(config, teacher=teacher, workdir=tmp_path / "a")
    assert result.test_accuracy > 0.3
    student = load_network(tmp_path / "a")
    assert student.pixels.high == 16.0
    assert "on no data set" in str(student)
    probabilities = FunctionTeacher(
        lambda raw: np.eye(10)[np.argmax(scores(raw), axis=1)],
        DIGITS,
        data.class_names,
        probabilities=True,
    )
    raw = data.x_test[:5].astype(np.float32)
    logits = probabilities.logits(raw, raw)
    np.testing.assert_array_equal(np.argmax(logits, 1), np.argmax(scores(raw), 1))
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    ("gives", "error", "message"),
    [
        (lambda x: np.zeros((len(x), 9)), UsageError, r"a row of 10 numbers an image"),
        (lambda x: np.zeros(len(x)), UsageError, r"a row of 10 numbers an image"),
        (lambda x: np.full((len(x), 10), np.nan), FailedRunError, "gave what is not finite"),
    ],
)
def test_functions_that_do_not_teach(tmp_path, gives, error, message):
    teacher = FunctionTeacher(gives, DIGITS, tuple("0123456789"), name="mine")
    with pytest.raises(error, match=message):
        run_kd(SMALL, teacher=teacher, workdir=tmp_path)


def test_an_ensemble_averages_probabilities(taught):
    one = NetworkTeacher(taught.network)
    raw = kipax.load_dataset("digits").x_test[:20].astype(np.float32)
    x = one.preprocessor.apply(raw)
    logits = np.asarray(one.logits(raw, x))
    both = Ensemble([one, one]).logits(raw, x)
    shifted = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(both, shifted, atol=1e-4)
    with pytest.raises(UsageError, match="one teacher or more; got none"):
        Ensemble([])
    other = FunctionTeacher(lambda x: np.zeros((len(x), 10)), DIGITS, tuple("abcdefghij"))
    with pytest.raises(UsageError, match="share images, classes and preprocessing"):
        Ensemble([one, other])


def test_teachers_by_name(taught):
    silent = {"data_dir": None, "reporter": Reporter()}
    assert isinstance(open_teacher(str(taught.workdir), **silent), NetworkTeacher)
    assert isinstance(open_teacher(str(taught.workdir / "network.npz"), **silent), NetworkTeacher)
    with pytest.raises(FileError, match="there is no teacher runs/none: train one with"):
        open_teacher("runs/none", **silent)
    with pytest.raises(UsageError, match=r"python:MODULE:NAME; got python:os"):
        open_teacher("python:os", **silent)
    with pytest.raises(UsageError, match="names no teacher"):
        open_teacher("python:os:nothing", **silent)
    with pytest.raises(UsageError, match=r"must be or give a kipax\.kd\.Teacher.*got a str"):
        open_teacher("python:os:getcwd", **silent)


def test_a_shipped_set_teaches_without_its_data():
    listener = Listener()
    teacher = open_teacher("fashion_mnist-convnet-10", data_dir="nowhere", reporter=listener)
    assert isinstance(teacher, KernelTeacher)
    assert teacher.scale == 10.0
    assert "chosen on no data" in listener.said[0]
    assert teacher.space.shape == (28, 28, 1)


def test_data_that_do_not_fit_the_teacher(taught, tmp_path):
    np.savez(
        tmp_path / "other.npz",
        x_train=np.random.default_rng(0).integers(0, 255, (20, 8, 8, 3)).astype(np.uint8),
        y_train=np.arange(20) % 2,
        x_test=np.random.default_rng(1).integers(0, 255, (6, 8, 8, 3)).astype(np.uint8),
        y_test=np.arange(6) % 2,
    )
    config = dataclasses.replace(SMALL, dataset=f"npz:{tmp_path / 'other.npz'}")
    with pytest.raises(UsageError, match=r"takes images \(8, 8, 1\) of 10 classes; .*--dataset"):
        run_kd(config, teacher=NetworkTeacher(taught.network), workdir=tmp_path / "run")


def test_diagnosis_trains_nothing(taught, tmp_path):
    teacher = NetworkTeacher(taught.network)
    found = diagnose_source(dataclasses.replace(SMALL, source="data"), teacher=teacher)
    assert found.verdict == "likely"
    assert found.relative_entropy > 0.9
    assert set(found.to_dict()) >= {"relative_entropy", "confidence", "verdict"}
    dark = FunctionTeacher(lambda x: np.eye(10)[np.zeros(len(x), int)], DIGITS, tuple("0123456789"))
    assert diagnose_source(SMALL, teacher=dark).verdict == "unlikely"
    assert list(tmp_path.iterdir()) == []
