"""SimCLR and MoCo against plain loops, their views, and the networks that they leave."""

import dataclasses
import json

import jax
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

import kipax
from kipax.errors import UsageError
from kipax.kd import Ensemble, KDConfig, NetworkTeacher, TeacherConfig, Views, run_kd, run_teacher
from kipax.kd.config import resolve
from kipax.kd.selfsupervised import MoCo, NTXent
from kipax.kd.teacher_kinds import KINDS
from kipax.kd.teacher_presets import TEACHER_PRESETS
from kipax.kd.teaching import apart
from kipax.students import Outputs, classifier_of, init_variables
from kipax.training import Batch
from tests.devices import arrays_on_one_and_four_devices, assert_same_arrays
from tests.kd.cases import Listener, stops_before_the_same_bytes
from tests.kd.embedded import layers, unit
from tests.kd.test_views import _batches

N, D, OUT = 4, 5, 3
SHORT = {"width": 4, "steps": 6, "batch_size": 32}
MOCO = TeacherConfig(objective="moco", queue=40, **SHORT)  # the queue turns within the run


def _embeddings(rows, seed):
    rng = np.random.default_rng(seed)
    return Outputs(np.zeros((rows, 2)), rng.normal(size=(rows, D)), {})


VIEWS = _embeddings(2 * N, 0)
PAIRS = Batch(np.zeros((2 * N, 1, 1, 1)), index=np.arange(N))


def _begin(objective, student=VIEWS):
    return objective.init(jax.random.key(0), jax.eval_shape(lambda: student), None)


def test_nt_xent_is_the_sum_over_all_other_views(x64):
    objective = NTXent(temperature=0.3, features=OUT, projector="mocov2")
    aux, state = _begin(objective)
    z = unit(layers(aux, VIEWS.penultimate))
    losses, matched = [], []
    for i in range(2 * N):
        other = (i + N) % (2 * N)
        scores = {k: np.exp(z[i] @ z[k] / 0.3) for k in range(2 * N) if k != i}
        losses.append(-np.log(scores[other] / sum(scores.values())))
        matched.append(max(scores, key=scores.get) == other)
    loss, metrics, after = objective(aux, state, VIEWS, None, PAIRS)
    assert loss == pytest.approx(np.mean(losses))
    assert metrics["matched"] == pytest.approx(np.mean(matched))
    assert after == {}
    same = np.tile(np.arange(N), 2)
    assert loss == pytest.approx(float(optax.losses.ntxent(z, same, 0.3)), rel=1e-5)


def test_moco_is_a_plain_loop_over_batches(x64):
    """Queries with keys of a slower projector and a queue of the last keys, for three batches."""
    objective = MoCo(temperature=0.4, queue=6, momentum=0.7, features=OUT)
    aux, state = _begin(objective, _embeddings(N, 0))
    slow = jax.tree.map(np.asarray, aux)
    queue = list(np.asarray(state["keys"]))
    np.testing.assert_allclose(np.linalg.norm(queue, axis=1), 1)
    for number in range(3):
        aux = jax.tree.map(lambda a, n=number: a + 0.1 * n, aux)  # as an optimiser moves it
        slow = jax.tree.map(lambda s, a: 0.7 * s + 0.3 * np.asarray(a), slow, aux)
        student, averaged = _embeddings(N, 10 + number), _embeddings(N, 20 + number)
        q = unit(layers(aux, student.penultimate))
        k = unit(layers(slow, averaged.penultimate))
        expected = []
        for i in range(N):
            own = np.exp(q[i] @ k[i] / 0.4)
            expected.append(-np.log(own / (own + sum(np.exp(q[i] @ a / 0.4) for a in queue))))
        batch = Batch(np.zeros((N, 1)), x_averaged=np.zeros((N, 1)))
        loss, metrics, state = objective(aux, state, student, None, batch, averaged)
        assert loss == pytest.approx(np.mean(expected))
        nearer = [q[i] @ k[i] > max(q[i] @ a for a in queue) for i in range(N)]
        assert metrics["matched"] == pytest.approx(np.mean(nearer))
        queue = [*queue, *k][-6:]
        np.testing.assert_allclose(np.roll(state["keys"], -state["place"], axis=0), queue)
    assert objective.averaging == 0.7


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [NTXent(features=OUT), NTXent(features=OUT, projector="linear"), MoCo(queue=5, features=OUT)],
    ids=["simclr", "linear", "moco"],
)
def test_gradients_are_finite_differences(x64, objective):
    moco = isinstance(objective, MoCo)
    student = _embeddings(N if moco else 2 * N, 0)
    aux, state = _begin(objective, student)
    batch = Batch(PAIRS.x[:N], x_averaged=PAIRS.x[:N]) if moco else PAIRS
    # The copy is no function of what is trained: it stays where its state is.
    averaged = _embeddings(N, 1) if moco else None
    if moco:
        objective = dataclasses.replace(objective, momentum=1 - 1e-15)

    def loss(embedding, aux):
        out = Outputs(student.logits, embedding, {})
        return objective(aux, state, out, None, batch, averaged)[0]

    check_grads(loss, (student.penultimate, aux), order=1, modes=["rev"], atol=1e-4, rtol=1e-4)


def test_objectives_refuse_what_is_not_two_views():
    objective = NTXent(features=OUT)
    aux, state = _begin(objective)
    with pytest.raises(UsageError, match="two views of each image; got 8 views of 8 images"):
        objective(aux, state, VIEWS, None, PAIRS._replace(index=np.arange(2 * N)))
    odd = _embeddings(5, 0)
    with pytest.raises(UsageError, match=r"got 5 views of 2\.5 images"):
        objective(aux, state, odd, None, PAIRS._replace(index=None))
    moco = MoCo(queue=4, features=OUT)
    aux, state = _begin(moco)
    with pytest.raises(UsageError, match="another view for the averaged copy"):
        moco(aux, state, VIEWS, None, PAIRS, VIEWS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NTXent(projector="mlp"), "unknown projector 'mlp'"),
        (lambda: NTXent(features=0), "features must be positive"),
        (lambda: MoCo(temperature=-1.0), "temperature must be positive"),
        (lambda: MoCo(queue=0), "queue must be positive"),
        (lambda: MoCo(momentum=1.0), "momentum runs from 0 to below 1"),
    ],
)
def test_wrong_objectives_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


# -- the two views of an image ---------------------------------------------------------------------


@pytest.mark.slow
def test_two_views_are_a_function_of_the_step():
    batches, _, preprocessor = _batches(Views(level="contrastive"), count=2)
    batch = batches(3)
    assert batch.x.shape == (12, 16, 16, 3)
    assert batch.index.shape == (6,)
    levels = np.asarray(batch.x_teacher)
    np.testing.assert_allclose(batch.x, preprocessor.apply(levels), atol=1e-5)
    differing = np.any(np.abs(levels[:6] - levels[6:]) > 1e-3, axis=(1, 2, 3))
    assert differing.all()
    np.testing.assert_array_equal(batches(3).x, batch.x)
    assert not np.allclose(batches(4).x, batch.x)
    pair = apart(batches)(3)
    np.testing.assert_array_equal(pair.x, batch.x[:6])
    np.testing.assert_array_equal(pair.x_averaged, batch.x[6:])
    single, _, _ = _batches(Views(level="contrastive"))
    assert single(3).x.shape == (6, 16, 16, 3)


def _contrastive(x, count=200, mirror=False):
    views = Views(level="contrastive", mirror=mirror)
    change = jax.jit(jax.vmap(lambda key: kipax.kd.views._change(views, 0.0, key, x)))
    return np.asarray(change(jax.random.split(jax.random.key(0), count)))


def test_colours_change_in_eight_of_ten_and_turn_grey_in_two():
    """Of a constant colour a box is the same colour, so that the other changes show alone."""
    seen = _contrastive(np.broadcast_to(np.float32([200, 120, 40]), (8, 8, 3)), 400)
    assert np.ptp(seen, axis=(1, 2)).max() == 0
    seen = seen[:, 0, 0]
    grey = np.ptp(seen, axis=1) == 0
    same = np.all(seen == [200, 120, 40], axis=1)
    assert grey.mean() == pytest.approx(0.2, abs=0.07)
    assert same.mean() == pytest.approx(0.2 * 0.8, abs=0.07)
    plain = np.all(seen == 135, axis=1)  # the luma of the colour: grey, and not changed otherwise
    assert plain.mean() == pytest.approx(0.2 * 0.2, abs=0.025)
    assert seen.min() >= 0
    assert seen.max() <= 255


def test_grey_images_change_in_brightness_and_contrast():
    half = np.zeros((8, 8, 1), np.float32) + 100
    seen = _contrastive(half, 400)[:, 0, 0, 0]
    assert (seen == 100).mean() == pytest.approx(0.2, abs=0.07)  # the contrast of one value
    assert seen.min() == pytest.approx(60, abs=2)
    assert seen.max() == pytest.approx(140, abs=2)
    assert len(np.unique(seen)) > 50


@pytest.mark.parametrize("mirror", [False, True])
def test_boxes_of_a_ramp_are_ramps_and_mirrored_if_they_may(mirror):
    ramp = np.broadcast_to(np.linspace(0, 255, 16, dtype=np.float32)[:, None], (16, 16, 1))
    seen = _contrastive(ramp, 200, mirror=mirror)[..., 0]
    rising = seen[:, 0, -1] > seen[:, 0, 0]
    assert rising.all() != mirror
    if mirror:
        assert rising.mean() == pytest.approx(0.5, abs=0.15)
    spread = np.abs(seen[:, 0, -1] - seen[:, 0, 0])
    assert spread.min() < 0.5 * spread.max()  # boxes of many sizes


# -- teachers trained without labels -------------------------------------------------------------


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    """A network after a few steps of SimCLR, as `run_teacher` leaves it."""
    folder = tmp_path_factory.mktemp("simclr")
    listener = Listener()
    config = TeacherConfig(objective="simclr", **SHORT)
    return run_teacher(config, workdir=folder / "run", reporter=listener), listener


def test_a_network_without_labels_says_that_it_does_not_classify(unlabelled):
    result, listener = unlabelled
    data = kipax.load_dataset("digits")
    network = kipax.load_network(result.workdir)
    assert not network.classifies
    for use in (network.predict, network.scores):
        with pytest.raises(UsageError, match=r"without labels \(simclr\): .*--linear_probe=FILE"):
            use(data.x_test)
    assert "(features, no classes), trained without labels (simclr) on digits" in str(network)
    assert result.test_accuracy is None
    assert "test_accuracy" not in network.metadata
    assert network.metadata["rule"] == "last step"
    kernel, bias = classifier_of(network.module, network.variables)
    assert not np.any(kernel)
    assert not np.any(bias)
    features = network.outputs(network.preprocess(data.x_test)).penultimate
    assert np.var(features, axis=0).max() > 0
    assert any("0 validation" in sentence for sentence in listener.said)
    assert any("simclr at temperature 0.5, projector simclr" in s for s in listener.said)
    lines = [json.loads(s) for s in (result.workdir / "metrics.jsonl").read_text().splitlines()]
    assert {"train_loss", "matched"} <= set(lines[-1])
    json.dumps(result.summary())


def test_labels_teach_nothing(unlabelled, tmp_path):
    """With the classes in another order every bit of the features is the same."""
    result, _ = unlabelled
    data = kipax.load_dataset("digits")
    other = dataclasses.replace(data, y_train=(data.y_train + 3) % 10)
    config = TeacherConfig(objective="simclr", **SHORT)
    again = run_teacher(config, dataset=other, workdir=tmp_path).network
    for a, b in zip(
        jax.tree.leaves(again.variables), jax.tree.leaves(result.network.variables), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_teacher_of_logits_has_classes(unlabelled, tmp_path):
    teacher = NetworkTeacher(unlabelled[0].network)
    assert teacher.known_classes == 0
    with pytest.raises(UsageError, match="logits of all classes"):
        Ensemble([teacher, teacher])
    config = KDConfig(source="noise", images=20, steps=1, dataset="none")
    with pytest.raises(
        UsageError,
        match=r"loss kl needs a teacher that classifies; .*linear_p",
    ):
        run_kd(config, teacher=teacher, workdir=tmp_path)
    with pytest.raises(UsageError, match="gives classes once it was trained from labels"):
        teacher.logits(np.zeros((1, 8, 8, 1)), np.zeros((1, 8, 8, 1), np.float32))


@pytest.mark.parametrize("config", [MOCO, TeacherConfig(objective="simclr", **SHORT)])
def test_a_run_in_pieces_has_the_bytes_of_one_run(config, tmp_path):
    assert stops_before_the_same_bytes(run_teacher, config, tmp_path) >= 5


_DEVICES = """
import jax, numpy as np
from kipax.kd import TeacherConfig, run_teacher
assert len(jax.devices()) == {count}
config = TeacherConfig(
    objective={objective!r}, width=4, steps=4, batch_size=32, optimizer="momentum",
    queue=40 if {objective!r} == "moco" else None, learning_rate=0.01, weight_decay=0.0,
)
run_teacher(config, workdir={out!r})
"""


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["simclr", "moco"])
def test_a_batch_shared_by_devices_has_one_queue(objective, tmp_path):
    """Of four devices each has a quarter of the views; the state is that of one device."""
    one, four = arrays_on_one_and_four_devices(
        _DEVICES, tmp_path, written="/latest.npz", objective=objective
    )
    assert any("keys" in name for name in one) == (objective == "moco")
    assert_same_arrays(one, four, atol=1e-4)


def test_collapsed_features_are_told(tmp_path, monkeypatch):
    listener = Listener()
    monkeypatch.setattr("kipax.kd.teaching.COLLAPSED", 1.0)
    run_teacher(MOCO, workdir=tmp_path, reporter=listener)
    assert any("have collapsed; take a smaller learning_rate" in s for s in listener.said)


def test_a_queue_has_no_more_keys_than_images(tmp_path):
    config = TeacherConfig(objective="moco", queue=1438)
    with pytest.raises(UsageError, match="here at most 1,437; got 1,438: take a smaller --queue"):
        run_teacher(config, workdir=tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objective": "simcl"}, "unknown objective 'simcl'; did you mean simclr"),
        ({"objective": "simclr", "preset": "small"}, "presets for --objective=simclr are small_s"),
        ({"preset": "moco"}, "presets for --objective=labels are small, single_image"),
        ({"objective": "simclr", "queue": 5}, "queue is for --objective=moco; got 5 with --obj"),
        ({"temperature": 0.1}, "temperature is for --objective=simclr or --objective=moco"),
        ({"objective": "moco", "smoothing": 0.1}, "smoothing is for --objective=labels or --lin"),
        ({"objective": "moco", "averaging": 1.0}, "averaging runs from 0 to below 1; got 1"),
        ({"objective": "moco", "projector": "mlp"}, "unknown projector 'mlp'"),
        ({"objective": "simclr", "augmentation": "none"}, "two different views .* got augm"),
        ({"objective": "simclr", "batch_size": 1}, "others of its batch; got batch_size 1"),
        ({"backbone_rate": 0.1}, "backbone_rate is for --fine_tune=FILE; got 0.1"),
        ({"linear_probe": "a", "fine_tune": "b"}, "by --linear_probe or --fine_tune; got lin"),
        ({"linear_probe": "a", "objective": "moco"}, "got linear_probe with objective moco"),
        ({"linear_probe": "a", "augmentation": "crop"}, "features of each image once; got aug"),
    ],
)
def test_settings_that_contradict_each_other(fields, message):
    with pytest.raises(UsageError, match=message):
        TeacherConfig(**fields)


@pytest.mark.parametrize("preset", TEACHER_PRESETS)
def test_every_preset_has_what_its_kind_of_training_needs(preset):
    (kind,) = (name for name, kind in KINDS.items() if preset in kind.presets)
    given = {kind: "x"} if kind in ("linear_probe", "fine_tune") else {"objective": kind}
    config = resolve(TeacherConfig(preset=preset, **given))
    assert config.kind == kind
    assert [name for name in KINDS[kind].settings if getattr(config, name) is None] == []
    config = dataclasses.replace(config, steps=config.steps or 240)  # a probe's are by data
    assert config.descent.steps == config.steps
    assert float(config.descent.schedule(config.steps // 2)) > 0
    assert resolve(TeacherConfig(**given)).preset == KINDS[kind].presets[0]


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["simclr", "moco"])
def test_features_without_labels_know_more_than_drawn_ones(objective, tmp_path):
    """With the presets as they are: see docs/teachers.md for the numbers."""
    data = kipax.load_dataset("digits")
    learned = run_teacher(TeacherConfig(objective=objective), workdir=tmp_path).network
    variables = init_variables(learned.module, jax.random.key(0), learned.image_shape)
    drawn = dataclasses.replace(learned, variables=variables)
    config = kipax.probes.ProbeConfig(probes="linear,recall")
    after, before = (kipax.probes.probe(n, data, config) for n in (learned, drawn))
    assert after["recall"]["1"] > before["recall"]["1"] + 0.005
    assert after["linear"] >= before["linear"] - 0.005
