"""Losses as sums of terms, labels, embeddings of teachers, and the presets that use them."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest

import kipax
from kipax.data import load_dataset
from kipax.errors import FailedRunError, UsageError
from kipax.kd import (
    Distillation,
    FunctionTeacher,
    ImageSpace,
    KDConfig,
    NetworkTeacher,
    SourceReader,
    TeacherConfig,
    run_kd,
    run_teacher,
)
from kipax.kd.anchors import Anchors
from kipax.kd.config import resolve
from kipax.kd.contrast import CRD
from kipax.kd.objectives import Distil
from kipax.kd.presets import PRESETS
from kipax.kd.sources.base import classes_of
from kipax.kd.terms import TERMS, Material, build_objective, parse_loss
from kipax.report import Reporter
from kipax.students import Outputs
from kipax.training import Sum
from tests.kd.cases import DIGITS, SMALL, stops_before_the_same_bytes

NAMES = tuple("0123456789")
EMBEDDED = dataclasses.replace(SMALL, source="data", steps=4, mix="none")


def _built(count=100, **fields):
    return build_objective(resolve(KDConfig(**fields)), Material(count, np.arange(count)))


def test_a_loss_of_one_term_is_that_term():
    assert _built(loss="kl") == Distil("kl", temperature=8.0, scale=64.0)
    both = _built(loss="kl+0.5*anchors")
    assert isinstance(both, Sum)
    assert [weight for weight, _ in both.terms] == [1.0, 0.5]
    assert both.terms[1][1] == Anchors("2q", queue=50)


def test_a_queue_holds_at_most_the_images():
    assert _built(10**6, loss="anchors").queue == 128_000
    assert _built(10**6, loss="queued_crd").queue == 16_384
    assert _built(loss="anchors", queue=100).queue == 100
    with pytest.raises(UsageError, match="at most 100 here; got 101: take a smaller --queue"):
        _built(loss="anchors", queue=101)


def test_negatives_are_of_other_classes_where_all_classes_are_known():
    config = resolve(KDConfig(loss="crd"))
    classes = np.arange(100) % 10
    known = build_objective(config, Material(100, np.arange(100), classes))
    assert isinstance(known, CRD)
    np.testing.assert_array_equal(known.classes, classes)
    some = np.where(np.arange(100) < 50, classes, -1)
    assert build_objective(config, Material(100, np.arange(100), some)).classes is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kll", "unknown loss 'kll'"),
        ("kl+kl", "each term once; got kl twice"),
        ("x*kl", r"a positive number; got 'x\*kl'"),
        ("0*kl", "a positive number"),
        ("", "unknown loss ''"),
    ],
)
def test_wrong_losses_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse_loss(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": 0.0}, "labels is a share, above 0 and at most 1; got 0.0"),
        ({"averaging": 1.0}, "averaging runs from 0 to below 1"),
        ({"anchor_mode": "3q"}, "unknown anchor_mode '3q'"),
        ({"projector": "none"}, "unknown projector 'none'"),
        ({"epochs": 3, "steps": 4}, "got 3 and 4: leave one out"),
        ({"negatives": 0}, "negatives must be positive"),
    ],
)
def test_wrong_settings_are_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        KDConfig(**fields)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_whole(name):
    config = resolve(KDConfig(preset=name))
    optional = {
        *("width", "normalisation", "dataset", "data_dir", "image_size", "pool", "queue"),
        *("eval_examples", "max_seconds", "mirror", "clusters"),
    }
    left = {k for k, v in dataclasses.asdict(config).items() if v is None} - optional
    assert left in ({"epochs"}, {"steps"})
    assert all(name in TERMS for _, name in config.terms)
    assert config.with_steps(1000).steps


def test_epochs_give_the_steps():
    config = resolve(KDConfig(preset="dapt"))
    assert config.with_steps(640).steps == 250 * 10
    assert config.with_steps(32).steps == 250  # one batch of all images
    assert resolve(KDConfig(preset="dapt", steps=7)).with_steps(640).steps == 7
    assert resolve(KDConfig(epochs=2)).with_steps(1280).steps == 20


# -- labels of sources ---------------------------------------------------------------------------


def _reader(names=NAMES):
    return SourceReader(DIGITS, lambda: load_dataset("digits"), class_names=names)


def test_images_have_the_labels_of_their_data():
    digits = load_dataset("digits")
    index = np.array([5, 900, 3])
    source = _reader().read("data")
    np.testing.assert_array_equal(classes_of(source, index), digits.y_train[index])
    swapped = (*NAMES[:3], "8", *NAMES[4:8], "3", "9")
    there = classes_of(_reader(swapped).read("data"), index)
    np.testing.assert_array_equal(np.array(swapped)[there], np.array(NAMES)[digits.y_train[index]])
    part = _reader().read("data:100")
    assert np.bincount(classes_of(part, np.arange(100))).tolist() == [10] * 10
    assert classes_of(_reader(tuple("abcdefghij")).read("data"), index) is None
    assert classes_of(_reader().read("shaders"), index) is None


def test_sources_together_keep_their_labels_apart():
    digits = load_dataset("digits")
    turns = _reader().read("concat:data,shaders")
    found = classes_of(turns, np.array([0, 1, 2, 3]))
    np.testing.assert_array_equal(found, [digits.y_train[0], -1, digits.y_train[1], -1])
    assert classes_of(_reader().read("concat:noise,shaders"), np.arange(3)) is None
    both = _reader().read("join:data:10,data")
    assert both.size == 10 + len(digits.x_train)
    index = np.array([1446, 2, 10])
    np.testing.assert_array_equal(both.images(index, seed=0)[[0, 2]], digits.x_train[[1436, 0]])
    np.testing.assert_array_equal(classes_of(both, index)[[0, 2]], digits.y_train[[1436, 0]])
    with pytest.raises(UsageError, match="shaders has no end: take concat"):
        _reader().read("join:data,shaders")
    with pytest.raises(UsageError, match="two sources or more"):
        _reader().read("join:data")


def test_a_folder_of_a_generator_has_the_labels_of_its_classes(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for name, grey in (("3", 30), ("7", 200)):
        (tmp_path / name).mkdir()
        for number in range(2):
            picture = np.full((20, 20, 3), grey, np.uint8)
            image.fromarray(picture).save(tmp_path / name / f"{number}.png")
    source = _reader().read(f"folder:{tmp_path}")
    images, classes = source.images(np.arange(4), seed=0), classes_of(source, np.arange(4))
    assert images.shape == (4, 8, 8, 1)
    assert sorted(classes.tolist()) == [3, 3, 7, 7]
    np.testing.assert_allclose(images[classes == 7], 200 * 16 / 255, rtol=1e-5)  # of 0 to 16
    with pytest.raises(UsageError, match="folder needs a name, as in folder:PATH"):
        _reader().read("folder")


# -- teachers' embeddings ------------------------------------------------------------------------


def test_a_network_gives_its_penultimate_outputs(taught):
    teacher = NetworkTeacher(taught.network)
    x = taught.network.preprocess(load_dataset("digits").x_test[:5])
    out = teacher.outputs(x, x)
    expected = taught.network.outputs(x)
    np.testing.assert_allclose(out.logits, expected.logits, rtol=1e-5)
    np.testing.assert_allclose(out.penultimate, expected.penultimate.reshape(5, -1), rtol=1e-5)
    assert teacher.embedding_size == out.penultimate.shape[1]


def _function(function, space=DIGITS, **fields):
    return FunctionTeacher(function, space, NAMES, **fields)


def _features(raw):
    return raw.reshape(len(raw), -1)[:, 10:14]


def test_a_function_gives_a_pair_or_embeddings_alone():
    raw = load_dataset("digits").x_test[:6].astype(np.float32)
    pair = _function(lambda x: (np.ones((len(x), 10)), _features(x)), embedding_size=4)
    out = pair.outputs(raw, raw)
    np.testing.assert_array_equal(out.logits, np.ones((6, 10)))
    np.testing.assert_array_equal(out.penultimate, _features(raw))
    assert "logits of 10 classes and embeddings of length 4" in pair.describe()
    alone = _function(_features, known_classes=0, embedding_size=4)
    assert alone.outputs(raw, raw).penultimate.shape == (6, 4)
    with pytest.raises(UsageError, match="gives a pair, logits and embeddings"):
        _function(_features, embedding_size=4).outputs(raw, raw)
    with pytest.raises(UsageError, match=r"row of 5 numbers an image, here \(6, 5\)"):
        _function(_features, known_classes=0, embedding_size=5).outputs(raw, raw)
    with pytest.raises(UsageError, match="known_classes is a number"):
        _function(_features, known_classes=0)
    with pytest.raises(FailedRunError, match="not finite"):
        _function(lambda x: _features(x) * np.nan, known_classes=0, embedding_size=4).outputs(
            raw, raw
        )


@pytest.mark.parametrize(
    ("fields", "teacher", "message"),
    [
        ({"loss": "anchors"}, {}, "embeddings of length 2 or more.*length 0"),
        ({"loss": "kl"}, {"known_classes": 0, "embedding_size": 4}, "a teacher that classifies"),
        ({"loss": "anchors", "queue": 301}, {"embedding_size": 4}, "at most 300 here"),
        ({"loss": "clusters"}, {"embedding_size": 4}, "take --cached"),
        ({"loss": "ce", "mix": "mixup"}, {}, "neither mixed nor moved"),
        (
            {"loss": "crd", "mix": "mixup"},
            {"embedding_size": 4},
            "crd knows images that are neither",
        ),
        ({"loss": "srrl"}, {"embedding_size": 4}, "only a network that classifies has"),
        ({"loss": "align_uniform", "batch_size": 1}, {"embedding_size": 4}, "take 2 or more"),
        ({"loss": "ce", "source": "shaders"}, {}, "these images have none"),
        (
            {"loss": "anchors+kl", "cached": True, "augmentation": "crop"},
            {"embedding_size": 4},
            "asked about images as they are",
        ),
    ],
)
def test_losses_that_teacher_or_images_cannot_serve(fields, teacher, message, tmp_path):
    def function(raw):
        logits, features = np.ones((len(raw), 10)), _features(raw)
        if "embedding_size" not in teacher:
            return logits
        return features if teacher.get("known_classes") == 0 else (logits, features)

    config = dataclasses.replace(EMBEDDED, **fields)
    with pytest.raises(UsageError, match=message):
        run_kd(
            config,
            teacher=_function(function, **teacher),
            dataset=load_dataset("digits"),
            workdir=tmp_path / "run",
        )


def test_a_collapsed_teacher_is_told(tmp_path):
    teacher = _function(lambda x: np.ones((len(x), 4)), known_classes=0, embedding_size=4)
    with pytest.raises(UsageError, match=r"is 0.0e\+00 of their mean square: the teacher"):
        run_kd(
            dataclasses.replace(EMBEDDED, loss="anchors"),
            teacher=teacher,
            dataset=load_dataset("digits"),
            workdir=tmp_path,
        )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": "anchors", "temperature": 0.01}, "temperature is for kl, l1, l2; got 0.01"),
        ({"loss": "kl", "labels": 0.1}, "labels is for ce, crd; got 0.1 with loss kl"),
        ({"loss": "kl", "queue": 5}, "queue is for queued_crd, anchors, similarities; got 5"),
        ({"loss": "kl", "projector": "simclr"}, "projector is for align_uniform, crd, queued_crd"),
        ({"loss": "hard", "temperature": 2.0}, "temperature is for kl, l1, l2"),
        ({"loss": "ce", "cached": True}, "cached asks the teacher, whom loss ce does not"),
        ({"preset": "dapt", "source": "shaders"}, "these images have none"),
        ({"loss": "anchors", "queue": 2000}, "at most 300 here; got 2,000"),
    ],
)
def test_a_setting_without_effect_is_refused_before_anything_is_drawn(
    taught, tmp_path, fields, message
):
    config = dataclasses.replace(EMBEDDED, **fields)
    with pytest.raises(UsageError, match=message):
        run_kd(config, teacher=NetworkTeacher(taught.network), workdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def _opened(taught, dataset=None, teacher=None, **fields):
    config = dataclasses.replace(EMBEDDED, **fields)
    return Distillation.open(
        config,
        teacher=teacher or NetworkTeacher(taught.network),
        dataset=dataset or load_dataset("digits"),
        reporter=Reporter(),
    )


def test_labels_identify_a_run_that_uses_them(taught):
    digits = load_dataset("digits")
    other = dataclasses.replace(digits, y_train=(digits.y_train + 1) % 10)
    for loss, same in (("crd", False), ("ce+kl", False), ("kl", True)):
        teacher = dataclasses.replace(NetworkTeacher(taught.network))
        hashes = [
            _opened(taught, data, _nameless(teacher), loss=loss).identity.hashes["source"]
            for data in (digits, other)
        ]
        assert (hashes[0] == hashes[1]) == same, loss


def _nameless(teacher):
    """The teacher without the hash of its data, so that other data count as its own."""
    facts = dict(teacher.network.metadata) | {"training_hash": "", "images_hash": ""}
    return NetworkTeacher(dataclasses.replace(teacher.network, metadata=facts))


def _objective(run, folder):
    folder.mkdir(exist_ok=True)
    return run.trainee(*run.draw(folder)).objective


def test_a_contrast_sees_the_labels_that_it_may_and_the_images_that_are_trained_on(
    taught, tmp_path
):
    whole = _objective(_opened(taught, loss="crd"), tmp_path)
    assert whole.images == len(whole.trained) == 300  # nothing is held out for it
    assert np.all(whole.classes >= 0)
    few = _objective(_opened(taught, loss="crd", labels=0.1), tmp_path)
    assert few.classes is None
    chosen = _objective(_opened(taught, loss="ce+crd+kl"), tmp_path).terms[1][1]
    assert (chosen.images, len(chosen.trained)) == (300, 270)


def test_epochs_count_the_drawn_images(taught):
    run = _opened(taught, loss="kl", steps=None, epochs=10, pool=900, images=320)
    assert run.config.steps == 100
    with pytest.raises(UsageError, match="not known beforehand; got epochs 10: take --steps"):
        _opened(taught, loss="kl", steps=None, epochs=10, boundary=True)


def test_a_students_step_is_chosen_by_agreement_where_it_classifies(taught, tmp_path):
    cases = {"kl": True, "ce+align_uniform": True, "ce": False, "anchors": False}
    for loss, chosen in cases.items():
        run = _opened(taught, loss=loss)
        trainee = run.trainee(*run.draw(tmp_path))
        assert (trainee.chosen_by is not None) == chosen, loss


def test_negatives_differ_between_seeds(taught):
    one = CRD(images=20, negatives=50)
    shapes = (Outputs(np.zeros((2, 3)), np.zeros((2, 4)), {}),) * 2
    drawn = [
        np.asarray(one._draw(one.init(jax.random.key(seed), *shapes)[1], np.array([0, 1])))
        for seed in (0, 1)
    ]
    assert np.any(drawn[0] != drawn[1])


def test_a_folders_test_images_are_not_trained_on(taught, tmp_path):
    image = pytest.importorskip("PIL.Image")
    digits = load_dataset("digits")
    for part, x, y in (
        ("train", digits.x_train[:60], digits.y_train[:60]),
        ("test", digits.x_test[:30], digits.y_test[:30]),
    ):
        for number, (picture, name) in enumerate(zip(x, y, strict=True)):
            where = tmp_path / "parts" / part / str(name)
            where.mkdir(parents=True, exist_ok=True)
            grey = np.uint8(picture[..., 0] * 15)
            image.fromarray(grey).save(where / f"{number}.png")
    apart = _reader().read(f"folder:{tmp_path / 'parts'}")
    assert apart.size == 60
    mine = load_dataset(f"folder:{tmp_path / 'parts' / 'train'}", image_size=8)
    with pytest.raises(UsageError, match=r"images that it has not seen; .* are test images"):
        Distillation.open(
            dataclasses.replace(EMBEDDED, loss="kl", source=f"folder:{tmp_path / 'parts/train'}"),
            teacher=_function(lambda x: np.ones((len(x), 10)), space=ImageSpace((8, 8, 1), 0, 255)),
            dataset=mine,
            reporter=Reporter(),
        )


def test_default_numbers_are_no_class_names_of_other_data(tmp_path):
    x = np.zeros((20, 8, 8, 1), np.uint8)
    y = np.arange(20) % 10
    np.savez(tmp_path / "plain.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    source = _reader().read(f"dataset:npz:{tmp_path / 'plain.npz'}")
    assert classes_of(source, np.arange(20)) is None
    assert "1,437 of them with a class" in _reader().read("dataset:digits").describe()


def test_copies_in_two_sources_are_held_out_together(taught, tmp_path):
    run = _opened(taught, loss="kl", source="join:data:200,data", images=2000)
    images, _ = run.draw(tmp_path)
    trained, held = images.hold_out()
    seen = {image.tobytes() for image in images.raw(trained)}
    assert not any(image.tobytes() in seen for image in images.raw(held))


# -- runs ----------------------------------------------------------------------------------------


def test_a_student_of_embeddings_alone_does_not_classify(tmp_path):
    teacher = _function(_features, known_classes=0, embedding_size=4)
    config = dataclasses.replace(EMBEDDED, loss="anchors", source="shaders")
    result = run_kd(config, teacher=teacher, workdir=tmp_path)
    assert result.test_accuracy is None
    assert result.network.metadata["classifies"] is False
    assert result.facts == {"agreement": None, "relative_entropy": None, "verdict": None}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(
            {"loss": "anchors", "augmentation": "crop", "cached": True}, marks=pytest.mark.slow
        ),
        pytest.param({"loss": "ce+crd+kl", "labels": 0.5, "negatives": 20}, marks=pytest.mark.slow),
        {"loss": "queued_crd+anchors", "averaging": 0.9, "augmentation": "crop"},
    ],
    ids=["anchors", "crd", "queues"],
)
def test_queues_and_memories_survive_a_stop(taught, tmp_path, fields):
    config = dataclasses.replace(EMBEDDED, **fields)
    run = functools.partial(
        run_kd, teacher=NetworkTeacher(taught.network), dataset=load_dataset("digits")
    )
    assert stops_before_the_same_bytes(run, config, tmp_path) >= 3


@pytest.mark.parametrize("loss", ["clusters", "similarities", "srrl", "regression_bn"])
def test_every_other_term_trains(taught, tmp_path, loss):
    pytest.importorskip("sklearn")
    config = dataclasses.replace(EMBEDDED, loss=loss, cached=loss == "clusters", steps=12)
    result = run_kd(
        config,
        teacher=NetworkTeacher(taught.network),
        dataset=load_dataset("digits"),
        workdir=tmp_path,
    )
    losses = [line["train_loss"] for line in _lines(tmp_path)]
    assert losses[-1] < losses[0]
    assert result.last.metadata["step"] == 12


def _lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_few_labels_and_a_teacher_beat_few_labels(tmp_path):
    digits = load_dataset("digits").hold_out(100)
    taught = run_teacher(
        TeacherConfig(width=16, steps=500), dataset=digits, workdir=tmp_path / "teacher"
    )
    common = {"source": "data", "labels": 0.02, "steps": 1200, "width": 16, "learning_rate": 4e-3}
    run = functools.partial(run_kd, teacher=NetworkTeacher(taught.network), dataset=digits)
    few = run(KDConfig(preset="scratch", **common), workdir=tmp_path / "scratch")
    more = run(KDConfig(preset="dapt", **common), workdir=tmp_path / "dapt")
    assert more.test_accuracy > few.test_accuracy + 0.02
    assert kipax.load_network(tmp_path / "dapt").metadata["config"]["labels"] == 0.02
