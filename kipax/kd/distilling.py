"""`run_kd`: a network distilled from a teacher, on images of a source."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kipax.data import Dataset
from kipax.data.known import may_be_mirrored, short_name
from kipax.errors import UsageError
from kipax.kd.config import KDConfig, resolve
from kipax.kd.diagnosis import Diagnosis, diagnose
from kipax.kd.objectives import Distil
from kipax.kd.opening import lazily, open_teacher, open_test_data
from kipax.kd.pictures import draw_seen
from kipax.kd.presets import make_descent
from kipax.kd.sources import SourceReader
from kipax.kd.stored import StoredImages, ask_teacher, check_answers, draw_images
from kipax.kd.teachers import KernelTeacher, Teacher, as_outputs
from kipax.kd.teaching import TrainingResult
from kipax.kd.trainee import Trainee, save_networks, train_in_folder
from kipax.kd.views import ViewedBatches, Views
from kipax.networks import TrainedNetwork
from kipax.pixels import PixelFacts
from kipax.report import Reporter, limit_time
from kipax.runs import Identity, RunFolder
from kipax.students import Outputs
from kipax.training import Batch, Epochs, Selection, Setting, accuracy
from kipax.version import __version__

__all__ = ["run_kd"]

_HELD_OUT = 500  # images of the source that measure agreement, never trained on
_NOT_RECORDED = ("teacher", "dataset", "data_dir", "max_seconds", "eval_examples")


def run_kd(
    config: KDConfig,
    *,
    teacher: Teacher | None = None,
    dataset: Dataset | None = None,
    workdir: Path | str | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> TrainingResult:
    """Trains a student to give a teacher's answers on a source's images.

    The step of best agreement with the teacher on held-out images of the source is kept; labels are
    not used. Test images, if any, are only reported. The same call with the same machine and
    versions gives the same bytes, whether it was interrupted or not.

    Args:
        config: the settings; fields that are None are filled in by preset.
        teacher: the teacher; None opens ``config.teacher``.
        dataset: the data to test on; None takes those of the config or of the teacher.
        workdir: the run's folder; by default ``runs/<teacher>-<source>-<student>``.
        resume: True continues the run in `workdir`, and starts one if there is none.
        reporter: is told sentences and progress.

    Raises:
        UsageError, FileError: wrong input; nothing is lost.
        FailedRunError: the loss or the teacher's answers are not finite.
    """
    if not isinstance(config, KDConfig) or not isinstance(resume, bool):
        raise UsageError("run_kd takes a KDConfig, and resume as True or False.")
    reporter = limit_time(
        reporter or Reporter(), config.max_seconds, remedy="continue with --resume"
    )
    run = _Run.open(config, teacher, dataset, reporter)
    folder = RunFolder(workdir or _default_workdir(config))
    with folder.open(run.identity, resume=resume):
        images, diagnosis = run.draw(folder)
        reporter.say(diagnosis.describe())
        trainee = run.trainee(folder, images)
        selection = train_in_folder(folder, trainee, reporter)
        return run.finish(folder, images, selection, diagnosis)


def diagnose_source(
    config: KDConfig, *, teacher: Teacher | None = None, reporter: Reporter | None = None
) -> Diagnosis:
    """Diagnoses a source by the teacher's answers; trains nothing and saves nothing."""
    reporter = reporter or Reporter()
    run = _Run.open(dataclasses.replace(config, dataset="none"), teacher, None, reporter)
    raw = run.source.images(np.arange(min(1000, run.source.size or 1000)), seed=config.seed)
    logits = np.asarray(run.teacher.logits(raw, run.teacher.preprocessor.apply(raw)))
    check_answers(logits)
    return diagnose(logits)


def _default_workdir(config: KDConfig) -> str:
    def plain(text: str) -> str:
        name = Path(text.rstrip("/")).stem if "/" in text or "." in text else text
        return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)

    return f"runs/{plain(config.teacher)}-{plain(config.source)}-{plain(config.student)}"


@dataclasses.dataclass(frozen=True, eq=False)
class _Run:
    """The parts of a distillation that do not change from step to step."""

    config: KDConfig
    teacher: Teacher
    source: Any
    data: Dataset | None
    reporter: Reporter

    @classmethod
    def open(
        cls,
        config: KDConfig,
        teacher: Teacher | None,
        dataset: Dataset | None,
        reporter: Reporter,
    ) -> _Run:
        """Opens teacher, test data and source, and describes them to the reporter."""
        if teacher is None:
            teacher = open_teacher(config.teacher, data_dir=config.data_dir, reporter=reporter)
        config = resolve(config, preset="bridge" if isinstance(teacher, KernelTeacher) else None)
        reporter.say(f"teacher: {teacher.describe()}")
        data = dataset
        if data is None:
            data = open_test_data(
                config.dataset, teacher, data_dir=config.data_dir, reporter=reporter
            )

        def own() -> Dataset | None:
            if data is not None and short_name(data.name) == short_name(teacher.dataset):
                return data
            return open_test_data(None, teacher, data_dir=config.data_dir, reporter=reporter)

        reader = SourceReader(teacher.space, lazily(own), config.data_dir, config.seed)
        source = reader.read(config.source)
        reporter.say(f"source: {source.describe()}")
        run = cls(config, teacher, source, data, reporter)
        reporter.say(run.describe())
        run.check()
        return run

    def check(self) -> None:
        """Raises a `UsageError` for settings that contradict each other."""
        if self.config.cached and self.views.changes:
            raise UsageError(
                "a cached teacher is asked about images as they are; got augmentation "
                f"{self.config.augmentation} and mix {self.config.mix}: take --augmentation=none "
                "--mix=none, or --cached=false."
            )
        self.config.spec.build(len(self.teacher.class_names), self.teacher.space.shape)
        _ = self.objective

    @property
    def objective(self) -> Distil:
        """The objective of the student."""
        config = self.config
        return Distil(
            loss=config.loss or "kl",
            temperature=config.temperature if config.temperature is not None else 4.0,
            scale=config.scale if config.scale is not None else 1.0,
            signal=config.signal,
            top_k=config.top_k,
            smoothing=config.smoothing,
        )

    @property
    def views(self) -> Views:
        """How images are changed before the teacher and the student see them."""
        config, mirror = self.config, self.config.mirror
        if mirror is None:
            mirror = not self.teacher.dataset or may_be_mirrored(self.teacher.dataset)
        return Views(
            level=config.augmentation or "none",
            mirror=mirror,
            mix=config.mix or "none",
            alpha=config.mix_alpha or 1.0,
            per_example=bool(config.mix_per_example),
        )

    def describe(self) -> str:
        """Describes the student and its training in one line."""
        config = self.config
        return (
            f"student: {config.spec.describe()} · {config.steps:,} steps of {config.batch_size} · "
            f"{config.optimizer} {config.learning_rate:g}, {config.schedule} · {config.loss}"
            f" at {config.temperature:g} times {config.scale:g}, signal {config.signal} · "
            f"augmentation {config.augmentation}, mix {config.mix}"
            + (" · the teacher is asked once" if config.cached else "")
        )

    @property
    def identity(self) -> Identity:
        """The facts that identify this run."""
        config = self.config
        changing = {f.name for f in dataclasses.fields(config) if f.metadata["may_change"]}
        return Identity(
            method="kd",
            config=dataclasses.asdict(config),
            hashes={"teacher": str(self.teacher.facts)},
            facts={"versions": {"kipax": __version__, "jax": jax.__version__}},
            free=changing,
            defaults={f.name: f.default for f in dataclasses.fields(config)},
        )

    def draw(self, folder: RunFolder) -> tuple[StoredImages, Diagnosis]:
        """Draws the images once; returns them and the diagnosis of a thousand of them."""
        images = draw_images(
            folder,
            self.source,
            self.teacher.space,
            count=int(self.config.images or 0),
            seed=self.config.seed,
            reporter=self.reporter,
        )
        some = np.linspace(0, len(images) - 1, min(1000, len(images))).astype(int)
        raw = images.raw(some)
        logits = np.asarray(self.teacher.logits(raw, self.teacher.preprocessor.apply(raw)))
        check_answers(logits)
        return images, diagnose(logits)

    def trainee(self, folder: RunFolder, images: StoredImages) -> Trainee:
        """Returns the student with its batches, objective and optimiser."""
        config, teacher = self.config, self.teacher
        held = min(_HELD_OUT, len(images) // 10)
        trained = len(images) - held
        size = int(config.batch_size or 1)
        batches = ViewedBatches(
            images.raw,
            Epochs(trained, size, seed=config.seed),
            space=teacher.space,
            preprocessor=teacher.preprocessor,
            views=self.views,
            seed=config.seed,
        )
        answers = ask_teacher(folder, teacher, images, self.reporter) if config.cached else None
        chosen_by = None
        if held:
            raw = images.raw(np.arange(trained, len(images)))
            x = teacher.preprocessor.apply(raw)
            logits = teacher.logits(raw, x) if answers is None else answers[trained:]
            chosen_by = x, np.argmax(np.asarray(logits), axis=1)
        return Trainee(
            module=config.spec.build(len(teacher.class_names), teacher.space.shape),
            batches=batches,
            objective=self.objective,
            descent=make_descent(
                config.optimizer or "adam",
                config.schedule or "cosine",
                steps=int(config.steps or 1),
                weight_decay=config.weight_decay or 0.0,
            ),
            setting=Setting(float(config.learning_rate or 0.0), 0.0, config.seed),
            teacher=_asked_live(teacher) if answers is None else _remembered(answers),
            chosen_by=chosen_by,
            what="held-out agreement",
        )

    def finish(
        self,
        folder: RunFolder,
        images: StoredImages,
        selection: Selection,
        diagnosis: Diagnosis,
    ) -> TrainingResult:
        """Tests and saves the best and the last student, and draws example images."""
        teacher, best_step = self.teacher, int(selection.best_step[0])
        agreement = float(selection.accuracies[0, selection.steps.index(best_step)])
        facts = self._facts(diagnosis, len(images))
        test = None
        if self.data is not None:
            x, y = self.data.test_part(self.config.eval_examples)
            test = (teacher.preprocessor.apply(x), y) if len(x) else None
        made = {}
        for name, variables, step in (
            ("best", selection.best, best_step),
            ("last", selection.last, selection.steps[-1]),
        ):
            own = facts | {"step": step, "rule": f"{name} step by held-out agreement"}
            if test is not None:
                own["test_accuracy"] = accuracy(selection.network, variables, *test)
            made[name] = TrainedNetwork(self.config.spec, variables, teacher.preprocessor, own)
        title = f"{self.config.student} from {self.source.name}"
        save_networks(folder, made["best"], made["last"], title=title, reporter=self.reporter)
        draw_seen(folder, images, teacher, made["best"], self.reporter)
        return TrainingResult(
            made["best"],
            folder.path,
            made["best"].metadata.get("test_accuracy"),
            made["last"].metadata.get("test_accuracy"),
            best_step,
            selection.steps[-1],
            {"agreement": agreement if agreement == agreement else None} | _entropy(diagnosis),
        )

    def _facts(self, diagnosis: Diagnosis, images: int) -> dict[str, Any]:
        """Returns the metadata of a student's file on how it was made."""
        teacher, space = self.teacher, self.teacher.space
        pixels = PixelFacts("", space.low, space.high, space.mean, space.deviation)
        if self.data is not None:
            pixels = self.data.pixels.with_moments(self.data.x_train)
        config = dataclasses.asdict(self.config)
        return {
            "method": "distilled",
            "dataset": teacher.dataset or "nothing but the teacher",
            "class_names": list(teacher.class_names),
            "image_shape": list(space.shape),
            "pixels": pixels.to_metadata(),
            "source": self.source.describe(),
            "source_images": images,
            "teacher": teacher.facts,
            "diagnosis": diagnosis.to_dict(),
            "config": {k: v for k, v in config.items() if k not in _NOT_RECORDED},
            "kipax_version": __version__,
        }


def _entropy(diagnosis: Diagnosis) -> dict[str, Any]:
    return {"relative_entropy": diagnosis.relative_entropy, "verdict": diagnosis.verdict}


def _asked_live(teacher: Teacher):
    """Returns a function for `fit` that asks the teacher about each batch."""

    def answer(batch: Batch) -> Outputs:
        return as_outputs(jnp.asarray(teacher.logits(batch.x_teacher, batch.x), jnp.float32))

    return answer


def _remembered(answers: np.ndarray):
    """Returns a function for `fit` that looks up the teacher's stored answers by index."""

    def answer(batch: Batch) -> Outputs:
        return as_outputs(jnp.asarray(answers[batch.index]))

    return answer
