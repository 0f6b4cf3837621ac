"""Losses as sums of terms: how they are read and built, their settings, and their presets."""

import dataclasses

import numpy as np
import pytest

from kipax.data import load_dataset
from kipax.errors import UsageError
from kipax.kd import (
    KDConfig,
    NetworkTeacher,
    run_kd,
)
from kipax.kd.anchors import Anchors
from kipax.kd.checks import check_effect
from kipax.kd.config import resolve
from kipax.kd.contrast import CRD
from kipax.kd.objectives import Distil
from kipax.kd.presets import PRESETS
from kipax.kd.terms import TERMS, Material, build_objective, parse_loss
from kipax.training import Sum
from tests.kd.cases import (
    EMBEDDED,
    function_teacher,
    opened,
    some_pixels,
)


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


def test_top_k_is_also_a_setting_of_saved_answers(taught, tmp_path):
    common = {"loss": "hard", "cached": True, "top_k": 3}
    check_effect(
        KDConfig(answers="top_k", **common), opened(taught, answers="top_k", **common).config
    )
    with pytest.raises(UsageError, match="top_k is for kl; got 3 with loss hard"):
        check_effect(KDConfig(**common), opened(taught, **common).config)


def test_epochs_count_the_drawn_images(taught):
    run = opened(taught, loss="kl", steps=None, epochs=10, pool=900, images=320)
    assert run.config.steps == 100
    few = opened(taught, loss="kl", steps=None, epochs=10, pool=100, images=320)
    assert few.config.steps == 100  # a choice from a pool repeats images
    with pytest.raises(UsageError, match="not known beforehand; got epochs 10: take --steps"):
        opened(taught, loss="kl", steps=None, epochs=10, boundary=True)


@pytest.mark.parametrize(
    ("fields", "teacher", "message"),
    [
        (
            {"loss": "anchors"},
            {},
            "embeddings of length 2 or more; this teacher's have the length 0",
        ),
        ({"loss": "kl"}, {"known_classes": 0, "embedding_size": 4}, "a teacher that classifies"),
        ({"loss": "anchors", "queue": 301}, {"embedding_size": 4}, "at most 300 here"),
        ({"loss": "clusters"}, {"embedding_size": 4}, "take --cached"),
        ({"loss": "ce", "mix": "mixup"}, {}, "must not be mixed or moved"),
        (
            {"loss": "crd", "mix": "mixup"},
            {"embedding_size": 4},
            "crd identifies images",
        ),
        (
            {"loss": "srrl"},
            {"embedding_size": 4},
            "srrl needs the last layer .* has none: take regr",
        ),
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
        logits, features = np.ones((len(raw), 10)), some_pixels(raw)
        if "embedding_size" not in teacher:
            return logits
        return features if teacher.get("known_classes") == 0 else (logits, features)

    config = dataclasses.replace(EMBEDDED, **fields)
    with pytest.raises(UsageError, match=message):
        run_kd(
            config,
            teacher=function_teacher(function, **teacher),
            dataset=load_dataset("digits"),
            workdir=tmp_path / "run",
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
