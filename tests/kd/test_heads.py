"""New heads on trained networks: frozen features, fine-tuning, and files that do not fit."""

import dataclasses
import json

import jax
import numpy as np
import optax
import pytest

import kipax
from kipax.data import Dataset
from kipax.errors import FileError, UsageError
from kipax.kd import TeacherConfig, run_teacher
from kipax.kd.heads import LinearProbe, begin_with
from kipax.kd.presets import make_descent, with_slow_backbone
from kipax.kd.trainee import Trainee
from kipax.probes import linear_probe
from kipax.probes.features import features_of
from kipax.students import StudentSpec, classifier_of, init_variables
from kipax.training import CrossEntropy, Setting
from tests.kd.cases import Listener, stops_before_the_same_bytes


@pytest.fixture(scope="module")
def digits():
    return kipax.load_dataset("digits")


@pytest.fixture(scope="module")
def odd(digits):
    """Other classes of the same images: even and odd numbers."""
    parts = {"x_train": digits.x_train, "x_test": digits.x_test}
    parts |= {"y_train": digits.y_train % 2, "y_test": digits.y_test % 2}
    return Dataset.from_arrays(parts, class_names=["even", "odd"])


def _without_head(network):
    """A network's arrays by their paths, except those of its last layer."""
    kernel, bias = classifier_of(network.module, network.variables)
    leaves, _ = jax.tree_util.tree_flatten_with_path(network.variables)
    arrays = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
    head = {k for k, v in arrays.items() if v.shape == kernel.shape and np.array_equal(v, kernel)}
    head |= {k for k, v in arrays.items() if v.shape == bias.shape and np.array_equal(v, bias)}
    assert len(head) == 2
    return {k: v for k, v in arrays.items() if k not in head}


def _probe(file, **fields):
    return TeacherConfig(linear_probe=str(file), **fields)


def test_a_linear_probe_is_a_classifier_of_frozen_features(taught, odd, tmp_path):
    """Every other array keeps its bits, running averages too."""
    listener = Listener()
    result = run_teacher(_probe(taught.workdir), dataset=odd, workdir=tmp_path, reporter=listener)
    network = kipax.load_network(result.workdir)
    assert network.classifies
    assert network.class_names == ("even", "odd")
    before, after = _without_head(taught.network), _without_head(network)
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
    assert any("mean" in name for name in before)  # of a batch normalisation
    x, y = odd.x_test, odd.y_test
    assert network.preprocess(x).tobytes() == taught.network.preprocess(x).tobytes()
    assert np.mean(network.predict(x) == y) == pytest.approx(result.test_accuracy)
    # The rule of `kipax.probes`, but for the length of each image's features.
    train, test = (features_of(taught.network, part) for part in (odd.x_train, x))
    measured = linear_probe(train, odd.y_train.astype(int), test, y.astype(int))
    assert result.test_accuracy == pytest.approx(measured, abs=0.04)
    assert result.test_accuracy > 0.85
    assert network.metadata["step"] == 40 * 6
    method = "a linear probe of a network that was trained from labels on digits, from labels on"
    assert method in str(network)
    assert any("begins as convnet1, width 16" in sentence for sentence in listener.said)


def test_the_head_gives_the_trained_classifiers_logits(taught, odd):
    """Folding is exact: standardised features times weights are the network's logits."""
    probe = LinearProbe(taught.network, odd)
    trainee = probe.trainee(
        TeacherConfig(
            linear_probe="x",
            steps=3,
            batch_size=32,
            learning_rate=0.1,
            optimizer="momentum",
            schedule="constant",
            weight_decay=0.0,
        )
    )
    rng = np.random.default_rng(0)
    features = features_of(taught.network, odd.x_train)
    w, b = rng.normal(size=(features.shape[1], 2)), rng.normal(size=2)
    folded = probe.folded({"params": {"Dense_0": {"kernel": w, "bias": b}}})
    module = taught.network.spec.build(2, (8, 8, 1))
    x = taught.network.preprocess(odd.x_train[:50])
    length = np.linalg.norm(features, axis=1).mean()
    z = (features / length - (features / length).mean(axis=0)) / np.sqrt(
        (features / length).var(axis=0) + 1e-5
    )
    np.testing.assert_allclose(
        module.apply(folded, x).logits, z[:50] @ w + b, atol=1e-3 * np.abs(z[:50] @ w).max()
    )
    batch = trainee.batches(0)
    np.testing.assert_allclose(batch.x[:, 0, 0], z[batch.index], atol=1e-3)
    assert trainee.chosen_by is None


def test_features_do_not_depend_on_the_other_images(taught, digits):
    """Batch normalisation is in evaluation mode."""
    whole = features_of(taught.network, digits.x_test[:40])
    alone = features_of(taught.network, digits.x_test[:1])
    np.testing.assert_allclose(whole[:1], alone, rtol=1e-5, atol=1e-6)


def test_fine_tuning_begins_with_the_file_and_a_new_head(taught, odd, tmp_path):
    config = TeacherConfig(
        fine_tune=str(taught.workdir), steps=100, batch_size=64, learning_rate=0.02
    )
    result = run_teacher(config, dataset=odd, workdir=tmp_path / "tuned")
    assert result.network.class_names == ("even", "odd")
    assert result.test_accuracy > 0.85
    assert "fine-tuned from a network that was trained from labels on digits" in str(result.network)
    moved = _without_head(result.network)
    assert any(not np.array_equal(moved[k], v) for k, v in _without_head(taught.network).items())


def test_the_start_is_the_file_but_for_the_drawn_head(taught):
    module = taught.network.spec.build(2, (8, 8, 1))
    drawn = init_variables(module, jax.random.key(5), (8, 8, 1))
    plain = Trainee(
        module=module,
        batches=None,
        objective=CrossEntropy(),
        descent=make_descent("momentum", "constant", steps=3, weight_decay=0.0),
        setting=Setting(0.1, 0.0, 0),
    )
    begun = begin_with(plain, taught.network, 0.1).start(drawn)
    for a, b in zip(classifier_of(module, begun), classifier_of(module, drawn), strict=True):
        np.testing.assert_array_equal(a, b)
    x = taught.network.preprocess(kipax.load_dataset("digits").x_test[:5])
    np.testing.assert_allclose(
        module.apply(begun, x).penultimate, taught.network.outputs(x).penultimate, atol=1e-5
    )


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "lars"])
@pytest.mark.parametrize("name", ["convnet1", pytest.param("planar", marks=pytest.mark.slow)])
def test_the_backbone_moves_at_a_share_of_the_heads_rate(name, optimizer):
    network = StudentSpec(name=name, width=4).build(3, (8, 8, 1))
    params = init_variables(network, jax.random.key(0), (8, 8, 1))["params"]
    tree = {"params": params, "aux": {}}
    rng = np.random.default_rng(0)
    gradient = jax.tree.map(lambda a: rng.normal(size=a.shape).astype(np.float32), tree)
    whole = make_descent(optimizer, "constant", steps=3, weight_decay=0.01).direction
    head = ("classifier", "head") if name == "planar" else ("dense4",)
    slow = with_slow_backbone(whole, head, 0.25)
    assert with_slow_backbone(whole, head, 0.25) is slow
    expected, _ = whole.update(gradient, whole.init(tree), tree)
    found, _ = slow.update(gradient, slow.init(tree), tree)
    leaves = jax.tree_util.tree_flatten_with_path(found["params"])[0]
    heads = 0
    for (path, a), b in zip(leaves, jax.tree.leaves(expected["params"]), strict=True):
        of_head = tuple(entry.key for entry in path)[: len(head)] == head
        heads += of_head
        np.testing.assert_allclose(a, b * (1.0 if of_head else 0.25), rtol=1e-6)
    assert heads == 2


def test_lars_is_optaxs_on_kernels_and_momentum_on_the_rest():
    rng = np.random.default_rng(0)
    tree = {k: rng.normal(size=s).astype(np.float32) for k, s in {"w": (4, 3), "b": (3,)}.items()}
    kernels = {"w": True, "b": False}
    reference = optax.lars(0.3, 0.01, kernels, trust_ratio_mask=kernels)
    own = make_descent("lars", "constant", steps=9, weight_decay=0.01).direction
    states = reference.init(tree), own.init(tree)
    for _ in range(3):
        gradient = jax.tree.map(lambda a: rng.normal(size=a.shape).astype(np.float32), tree)
        theirs, first = reference.update(gradient, states[0], tree)
        ours, second = own.update(gradient, states[1], tree)
        states = first, second
        for name in tree:
            np.testing.assert_allclose(-0.3 * ours[name], theirs[name], rtol=1e-5)


def test_schedules_of_the_new_presets():
    warm = make_descent("lars", "warmup", steps=1000, weight_decay=0.0).schedule
    assert [float(warm(step)) for step in (0, 5, 10)] == pytest.approx([0.0, 0.5, 1.0])
    assert float(warm(1000)) == pytest.approx(0.0, abs=1e-6)
    tenths = make_descent("momentum", "tenths", steps=40, weight_decay=0.0).schedule
    assert [float(tenths(step)) for step in (0, 14, 16, 29, 31)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01]
    )


# -- interrupted trainings of heads, and what identifies them --------------------------------------


@pytest.mark.parametrize("kind", ["linear_probe", "fine_tune"])
def test_a_run_in_pieces_has_the_bytes_of_one_run(kind, taught, tmp_path):
    config = TeacherConfig(**{kind: str(taught.workdir)}, steps=6, batch_size=32)
    assert stops_before_the_same_bytes(run_teacher, config, tmp_path) >= 5


def test_a_run_goes_on_with_the_same_network_wherever_it_lies(taught, tmp_path):
    config = _probe(taught.workdir, steps=4)
    run_teacher(config, workdir=tmp_path / "run")
    moved = tmp_path / "moved.npz"
    moved.write_bytes((taught.workdir / "network.npz").read_bytes())
    run_teacher(_probe(moved, steps=4), workdir=tmp_path / "run", resume=True)
    other = _probe(taught.workdir / "network_last.npz", steps=4)
    last, best = (kipax.load_network(taught.workdir / f"network{w}.npz") for w in ("_last", ""))
    if last.metadata["step"] == best.metadata["step"]:  # then change it
        variables = jax.tree.map(lambda a: 1.01 * a, last.variables)
        dataclasses.replace(last, variables=variables).save(tmp_path / "other.npz")
        other = _probe(tmp_path / "other.npz", steps=4)
    with pytest.raises(UsageError, match=r"--linear_probe was network \w{16}, now network \w{16}"):
        run_teacher(other, workdir=tmp_path / "run", resume=True)
    plain = TeacherConfig(steps=4, width=16)
    with pytest.raises(UsageError, match="--linear_probe was network"):
        run_teacher(plain, workdir=tmp_path / "run", resume=True)


def test_a_run_of_before_these_settings_goes_on(tmp_path):
    config = TeacherConfig(width=4, steps=6, batch_size=32)
    run_teacher(config, workdir=tmp_path)
    file = tmp_path / "run.json"
    stored = json.loads(file.read_text())
    new = {"objective", "temperature", "queue", "averaging", "projector"}
    new |= {"linear_probe", "fine_tune", "backbone_rate"}
    assert new <= stored["config"].keys()
    assert stored["config"]["preset"] == "small"
    stored["config"] = {k: v for k, v in stored["config"].items() if k not in new}
    file.write_text(json.dumps(stored))
    run_teacher(config, workdir=tmp_path, resume=True)
    file.write_text(json.dumps(stored))
    changed = dataclasses.replace(config, objective="simclr")
    with pytest.raises(UsageError, match="--objective was labels, now simclr"):
        run_teacher(changed, workdir=tmp_path, resume=True)


# -- files and settings that are refused -----------------------------------------------------------


def _data(shape, high=16):
    x = np.random.default_rng(0).integers(0, high + 1, (40, *shape)).astype(np.uint8)
    y = np.arange(40) % 2
    return Dataset.from_arrays({"x_train": x, "y_train": y, "x_test": x[:8], "y_test": y[:8]})


@pytest.mark.parametrize("kind", ["linear_probe", "fine_tune"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_data((16, 16, 1)), r"takes images \(8, 8, 1\); .* has \(16, 16, 1\)"),
        (_data((8, 8, 3)), r"takes images \(8, 8, 1\); .* has \(8, 8, 3\)"),
        (_data((8, 8, 1), high=255), "give images in the same units"),
    ],
)
def test_data_of_other_images_are_refused(kind, data, message, taught, tmp_path):
    config = TeacherConfig(**{kind: str(taught.workdir)})
    with pytest.raises(UsageError, match=message):
        run_teacher(config, dataset=data, workdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"network": "resnet20"}, "whose network is convnet1; got resnet20: leave --network out"),
        ({"width": 5}, "whose width is 16; got 5: leave --width out"),
        ({"normalisation": "none"}, "whose normalisation is batch; got none"),
        ({"preprocessing": "zca"}, "whose preprocessing is standard; got zca"),
    ],
)
def test_a_new_head_keeps_its_network(fields, message, taught, tmp_path):
    with pytest.raises(UsageError, match=message):
        run_teacher(_probe(taught.workdir, **fields), workdir=tmp_path / "run")


def test_files_that_are_no_networks(tmp_path):
    with pytest.raises(FileError, match=r"could not read .*missing\.npz"):
        run_teacher(_probe(tmp_path / "missing.npz"), workdir=tmp_path / "run")
    with pytest.raises(FileError, match=r"a folder without a network\.npz"):
        run_teacher(_probe(tmp_path), workdir=tmp_path / "run")
    kipax.load("digits-convnet-10").save(tmp_path / "support.npz")
    with pytest.raises(FileError, match=r"is no network: .* It is a support set"):
        run_teacher(_probe(tmp_path / "support.npz"), workdir=tmp_path / "run")


def test_collapsed_features_are_refused(taught, tmp_path):
    """Without its weights, what is left are biases and shifts: the same for every image."""
    dead = jax.tree.map(lambda a: 0 * a if a.ndim > 1 else a, taught.network.variables)
    dataclasses.replace(taught.network, variables=dead).save(tmp_path / "dead.npz")
    with pytest.raises(UsageError, match=r"are the same for all images \(variance "):
        run_teacher(_probe(tmp_path / "dead.npz"), workdir=tmp_path / "run")
