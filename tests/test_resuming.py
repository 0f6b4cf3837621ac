"""What survives Ctrl-C at an awkward moment, failures, damage, and a resume elsewhere."""

import dataclasses
import json

import numpy as np
import pytest

from kipax import Dataset, KIPConfig, LabelSolveConfig, load, run_kip, run_label_solve, support
from kipax.distill import Interrupted, Reporter, kip
from kipax.errors import FailedRunError, FileError, UsageError
from tests.stopping import StopAt

SMALL = KIPConfig(
    architecture="fc1", support=10, steps=4, target_batch="60", learning_rate=0.04, eval_every=2
)


def test_ctrl_c_between_update_and_record_loses_no_record(tmp_path, monkeypatch):
    class Images:
        """Learned images, on which waiting is interrupted."""

        def __init__(self, images):
            self._images = images

        def __array__(self, *args, **kwargs):
            return np.asarray(self._images)

        def block_until_ready(self):
            raise KeyboardInterrupt

    real = kip.apply_update

    def interrupted(*args, **kwargs):
        following = real(*args, **kwargs)
        return dataclasses.replace(following, images=Images(following.images))

    monkeypatch.setattr(kip, "apply_update", interrupted)
    with pytest.raises(Interrupted, match="after step 0"):
        run_kip(SMALL, workdir=tmp_path / "cut")
    monkeypatch.undo()
    run_kip(SMALL, workdir=tmp_path / "cut", resume=True)
    run_kip(SMALL, workdir=tmp_path / "whole")
    for name in ("support.npz", "checkpoints/step_000000.npz"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    steps = [
        json.loads(m)["step"] for m in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [0, 1, 2, 3, 4]


def test_a_falling_rate_survives_an_interruption_and_fixes_the_steps(tmp_path):
    falling = dataclasses.replace(SMALL, final_learning_rate=0.0)
    whole = run_kip(falling, workdir=tmp_path / "whole")
    assert not np.array_equal(
        whole.support.images, run_kip(SMALL, workdir=tmp_path / "constant").support.images
    )

    with pytest.raises(Interrupted):
        run_kip(falling, workdir=tmp_path / "cut", reporter=StopAt(2))
    with pytest.raises(UsageError, match="--steps was 4, now 5"):
        run_kip(dataclasses.replace(falling, steps=5), workdir=tmp_path / "cut", resume=True)
    run_kip(falling, workdir=tmp_path / "cut", resume=True)
    names = ("whole", "cut")
    assert len({(tmp_path / n / "support.npz").read_bytes() for n in names}) == 1


def test_a_label_rate_survives_an_interruption(tmp_path):
    slow = dataclasses.replace(SMALL, label_learning_rate=0.001, final_learning_rate=0.0)
    whole = run_kip(slow, workdir=tmp_path / "whole")
    assert np.abs(whole.support.labels).max() < 0.905  # from 0.9, four steps of at most 0.001

    with pytest.raises(Interrupted):
        run_kip(slow, workdir=tmp_path / "cut", reporter=StopAt(2))
    resumed = run_kip(slow, workdir=tmp_path / "cut", resume=True)
    np.testing.assert_array_equal(resumed.support.labels, whole.support.labels)
    np.testing.assert_array_equal(resumed.support.images, whole.support.images)


def _norms(images):
    """The Euclidean norm of each image."""
    return np.linalg.norm(np.reshape(images, (len(images), -1)), axis=1)


def test_norms_are_kept_through_an_interruption(tmp_path):
    kept = dataclasses.replace(SMALL, keep_norms=True)
    whole = run_kip(kept, workdir=tmp_path / "whole").support.images
    first = load(tmp_path / "whole" / "checkpoints" / "step_000000.npz").images
    np.testing.assert_allclose(_norms(whole), _norms(first), rtol=1e-6)
    free = run_kip(SMALL, workdir=tmp_path / "free").support.images
    assert not np.allclose(_norms(free), _norms(first), rtol=0.01)

    with pytest.raises(Interrupted):
        run_kip(kept, workdir=tmp_path / "cut", reporter=StopAt(2))
    resumed = run_kip(kept, workdir=tmp_path / "cut", resume=True)
    np.testing.assert_array_equal(resumed.support.images, whole)


def test_the_first_accuracy_is_of_the_test_images_of_today(tmp_path):
    run_kip(dataclasses.replace(SMALL, steps=2, eval_examples=50), workdir=tmp_path / "a")
    resumed = run_kip(SMALL, workdir=tmp_path / "a", resume=True)
    whole = run_kip(SMALL, workdir=tmp_path / "b")
    assert resumed.initial == whole.initial
    assert resumed.evaluation == whole.evaluation


def test_a_first_step_that_fails_names_no_good_set(tmp_path, monkeypatch):
    monkeypatch.setattr("kipax.distill.step._DIVERGED", 0.1)
    with pytest.raises(
        FailedRunError, match=r"at step 0: .* [Ss]tart again in another workdir"
    ) as e:
        run_kip(SMALL, workdir=tmp_path)
    assert "good one" not in str(e.value)


@pytest.mark.slow
def test_label_solve_keeps_its_sums_at_ctrl_c(tmp_path):
    settings = LabelSolveConfig(architecture="fc1", support=20, memory_gb=1e-5)
    whole = run_label_solve(settings, workdir=tmp_path / "whole")
    rows = json.loads((tmp_path / "whole" / "run.json").read_text())["plan"]["target_rows"]

    with pytest.raises(Interrupted, match=f"after {2 * rows} targets; continue with --resume"):
        run_label_solve(settings, workdir=tmp_path / "cut", reporter=StopAt(2 * rows))
    with np.load(tmp_path / "cut" / "latest.npz") as stored:
        assert stored["state_cursor"] == 2 * rows
    cut = run_label_solve(settings, workdir=tmp_path / "cut", resume=True)
    np.testing.assert_array_equal(cut.support.labels, whole.support.labels)


def test_a_run_evaluates_with_its_backend(tmp_path, monkeypatch):
    real, asked = support.KernelSpec, set()

    def spec(architecture, kind, backend):
        asked.add(backend)
        return real(architecture, kind, backend)

    monkeypatch.setattr(support, "KernelSpec", spec)
    run_kip(dataclasses.replace(SMALL, backend="portable"), workdir=tmp_path)
    assert asked == {"portable"}


def test_files_without_a_run_are_not_adopted(tmp_path):
    run_kip(SMALL, workdir=tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(UsageError, match=r"no run.json that says what run its latest.npz is of"):
        run_kip(dataclasses.replace(SMALL, seed=7), workdir=tmp_path)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "support.npz").write_bytes(b"precious")
    with pytest.raises(UsageError, match=r"its support.npz is of"):
        run_kip(SMALL, workdir=foreign)
    assert [p.name for p in foreign.iterdir()] == ["support.npz"]


def test_one_process_at_a_time(tmp_path):
    class Second(Reporter):
        said = ""

        def progress(self, progress):
            if not self.said:
                with pytest.raises(UsageError) as refused:
                    run_kip(SMALL, workdir=tmp_path, resume=True)
                self.said = str(refused.value)

    second = Second()
    run_kip(SMALL, workdir=tmp_path, reporter=second)
    assert "another process is running in" in second.said
    run_kip(SMALL, workdir=tmp_path, resume=True)  # it let go


def test_what_a_kill_left_half_written_is_swept(tmp_path):
    run_kip(SMALL, workdir=tmp_path)
    left = [tmp_path / ".latest.npz.1.partial", tmp_path / "checkpoints" / ".x.npz.1.partial"]
    for path in left:
        path.touch()
    run_kip(SMALL, workdir=tmp_path, resume=True)
    assert not any(path.exists() for path in left)


def test_damaged_records_are_passed_over(tmp_path):
    run_kip(SMALL, workdir=tmp_path)
    metrics = tmp_path / "metrics.jsonl"
    lines = metrics.read_bytes()
    metrics.write_bytes(b"\xff\xfe\n{}\n5\n" + lines)
    run_kip(dataclasses.replace(SMALL, steps=5), workdir=tmp_path, resume=True)
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("change", [{"versions": {}}, {"plan": {"rows": 1}}, {"plan": 3}])
def test_a_damaged_description_is_one_sentence(tmp_path, change):
    run_kip(SMALL, workdir=tmp_path)
    file = tmp_path / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(FileError, match=r"run.json is damaged"):
        run_kip(SMALL, workdir=tmp_path, resume=True)


def test_a_state_of_another_run_is_one_sentence(tmp_path):
    run_kip(SMALL, workdir=tmp_path / "a")
    run_kip(dataclasses.replace(SMALL, support=20), workdir=tmp_path / "b")
    (tmp_path / "b" / "latest.npz").replace(tmp_path / "a" / "latest.npz")
    with pytest.raises(FileError, match=r"latest.npz is not the state of this run: its opt_1"):
        run_kip(SMALL, workdir=tmp_path / "a", resume=True)


def _arrays(seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 256, (80, 3, 3, 1)).astype(np.uint8), np.arange(80) % 10
    return {"x_train": x, "y_train": y, "x_test": x[:20], "y_test": y[:20]}


def test_a_set_that_moved_resumes(tmp_path):
    (tmp_path / "here").mkdir()
    np.savez(tmp_path / "here" / "set.npz", **_arrays())
    config = dataclasses.replace(SMALL, dataset=f"npz:{tmp_path}/here/set.npz")
    run_kip(config, workdir=tmp_path / "run")
    (tmp_path / "here").rename(tmp_path / "there")
    moved = dataclasses.replace(config, dataset=f"npz:{tmp_path}/there/set.npz", steps=6)
    assert run_kip(moved, workdir=tmp_path / "run", resume=True).steps == 6
    np.savez(tmp_path / "there" / "set.npz", **_arrays(seed=1))
    with pytest.raises(UsageError, match=r"of --dataset=npz:.*/there/set.npz, are others"):
        run_kip(moved, workdir=tmp_path / "run", resume=True)
    with pytest.raises(UsageError, match=r"another run \(on other training images\): choose"):
        run_kip(moved, workdir=tmp_path / "run")


def test_other_test_labels_of_as_many_images_count_from_the_beginning(tmp_path):
    arrays = _arrays()
    run_kip(SMALL, dataset=Dataset.from_arrays(arrays), workdir=tmp_path)
    arrays["y_test"] = (arrays["y_test"] + 5) % 10
    other = Dataset.from_arrays(arrays)
    resumed = run_kip(SMALL, dataset=other, workdir=tmp_path, resume=True)
    fresh = run_kip(SMALL, dataset=other, workdir=tmp_path / "fresh")
    assert resumed.initial == fresh.initial


@pytest.mark.pictures
@pytest.mark.slow
def test_names_with_dollars_are_drawn(tmp_path):
    names = [f"${i}_to_${i + 1}" for i in range(10)]
    data = Dataset.from_arrays(_arrays(), name="$a_$b_$", class_names=names)
    run_kip(SMALL, dataset=data, workdir=tmp_path)
    assert (tmp_path / "images.png").exists()
    assert (tmp_path / "curve.png").exists()
