"""`run_kd`: a network distilled from a teacher, on images of a source."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from kipax.data import Dataset
from kipax.data.known import may_be_mirrored
from kipax.errors import UsageError
from kipax.files import hash_arrays
from kipax.kd.config import KDConfig, resolve
from kipax.kd.diagnosis import Diagnosis, diagnose
from kipax.kd.objectives import Distil
from kipax.kd.opening import check_test_data, open_teacher, open_test_data, own_data
from kipax.kd.pictures import draw_seen
from kipax.kd.presets import make_descent
from kipax.kd.sources import SourceReader
from kipax.kd.stored import (
    StoredImages,
    ask_teacher,
    asked_live,
    check_answers,
    chosen_index,
    draw_images,
    remembered,
)
from kipax.kd.teachers import KernelTeacher, Teacher
from kipax.kd.teaching import TrainingResult
from kipax.kd.trainee import Trainee, save_networks, train_in_folder
from kipax.kd.views import ViewedBatches, Views
from kipax.networks import NETWORK_FILE, TrainedNetwork
from kipax.report import Reporter, limit_time
from kipax.runs import Identity, RunFolder
from kipax.training import Epochs, Selection, Setting, accuracy
from kipax.version import __version__

__all__ = ["run_kd"]

_ASKED, _FINGERPRINT = 1000, 8  # images that a diagnosis, and an identity, ask about
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
        images, answers = run.draw(folder)
        diagnosis = diagnose(answers.some)
        reporter.say(diagnosis.describe())
        trainee = run.trainee(images, answers)
        selection = train_in_folder(folder, trainee, reporter)
        return run.finish(folder, selection, _Seen(images, answers, diagnosis))


def diagnose_source(
    config: KDConfig, *, teacher: Teacher | None = None, reporter: Reporter | None = None
) -> Diagnosis:
    """Diagnoses a source by the teacher's answers; trains nothing and saves nothing."""
    reporter = reporter or Reporter()
    run = _Run.open(config, teacher, None, reporter)
    index = chosen_index(run.source, int(run.config.images or 0), config.seed)[:_ASKED]
    return diagnose(_ask(run.teacher, run.source.images(index, seed=config.seed)))


def _ask(teacher: Teacher, raw: np.ndarray) -> np.ndarray:
    """A teacher's logits of raw images; a `FailedRunError` where they are not finite."""
    logits = np.asarray(teacher.logits(raw, teacher.preprocessor.apply(raw)))
    check_answers(logits)
    return logits


def _default_workdir(config: KDConfig) -> str:
    """``runs/<teacher>-<source>-<student>``, paths by their last part."""
    teacher = Path(config.teacher)
    if teacher.name == NETWORK_FILE:
        teacher = teacher.parent
    words = [teacher.name.removesuffix(".npz"), config.source.rsplit("/", 1)[-1], config.student]
    kind = config.source.partition(":")[0]
    if "/" in config.source and kind not in words[1]:
        words[1] = f"{kind}-{words[1]}"
    plain = ("".join(c if c.isalnum() or c in "-_." else "-" for c in word) for word in words)
    return f"runs/{'-'.join(plain)}"


class _Answers(NamedTuple):
    """What the teacher said of the images.

    Attributes:
        shown: numbers of at most a thousand images.
        some: logits of these.
        every: logits of all images, where it was asked about all.
    """

    shown: np.ndarray
    some: np.ndarray
    every: np.ndarray | None


class _Seen(NamedTuple):
    """What a student was shown."""

    images: StoredImages
    answers: _Answers
    diagnosis: Diagnosis


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
        where: dict[str, Any] = {"data_dir": config.data_dir, "image_size": config.image_size}
        if dataset is not None:
            check_test_data(dataset, teacher)
            data: Dataset | None = dataset
        else:
            data = open_test_data(config.dataset, teacher, reporter=reporter, **where)

        def load() -> Dataset | None:
            return open_test_data(None, teacher, reporter=Reporter(), **where)

        own = own_data(teacher, data, load)
        reader = SourceReader(teacher.space, own, config.data_dir, config.seed)
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
        if mirror is None:  # not where nobody knows what the images show
            known = self.teacher.dataset or (self.data.name if self.data else "")
            mirror = bool(known) and may_be_mirrored(known)
        return Views(
            level=config.augmentation or "none",
            mirror=mirror,
            mix=config.mix or "none",
            alpha=1.0 if config.mix_alpha is None else config.mix_alpha,
            per_example=bool(config.mix_per_example),
        )

    def describe(self) -> str:
        """Describes the student and its training in one line."""
        config = self.config
        return (
            f"student: {config.spec.describe()} · {config.steps:,} steps of {config.batch_size} · "
            f"{config.optimizer} {config.learning_rate:g}, {config.schedule} · {config.loss}"
            f" at {config.temperature:g} times {config.scale:g}, signal {config.signal} · "
            f"augmentation {config.augmentation}"
            + (f" ({'' if self.views.mirror else 'not '}mirrored)" if self._crops else "")
            + f", mix {config.mix}"
            + (" · the teacher is asked once" if config.cached else "")
        )

    @property
    def _crops(self) -> bool:
        return self.views.level != "none"

    @property
    def identity(self) -> Identity:
        """The facts that identify this run."""
        config = self.config
        changing = {f.name for f in dataclasses.fields(config) if f.metadata["may_change"]}
        return Identity(
            method="kd",
            config=dataclasses.asdict(config),
            hashes={"teacher": self._teacher_hash, "source": self._source_hash},
            facts={"versions": {"kipax": __version__, "jax": jax.__version__}},
            free=changing,
            defaults={f.name: f.default for f in dataclasses.fields(config)},
        )

    @property
    def _index(self) -> np.ndarray:
        """Which images of the source are taken."""
        return chosen_index(self.source, int(self.config.images or 0), self.config.seed)

    @property
    def _source_hash(self) -> str:
        """Tells the source's images from others: by a finite one's all, else by the first."""
        index = self._index if self.source.size is not None else self._index[:_FINGERPRINT]
        images = self.source.images(index, seed=self.config.seed)
        return hash_arrays({"images": images, "space": np.array(str(self.teacher.space))})[:16]

    @property
    def _teacher_hash(self) -> str:
        """Tells the teacher from others: by its content, or by its answers if it has none."""
        facts: dict[str, Any] = {"facts": self.teacher.facts, "names": self.teacher.class_names}
        if "teacher_hash" not in self.teacher.facts:
            first = self.source.images(self._index[:_FINGERPRINT], seed=self.config.seed)
            facts["answers"] = np.round(_ask(self.teacher, first), 2).tolist()
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def draw(self, folder: RunFolder) -> tuple[StoredImages, _Answers]:
        """The images, drawn once, and what the teacher says of them, or of a thousand."""
        images = draw_images(
            folder,
            self.source,
            self.teacher.space,
            count=int(self.config.images or 0),
            seed=self.config.seed,
            reporter=self.reporter,
        )
        shown = np.linspace(0, len(images) - 1, min(_ASKED, len(images))).astype(int)
        if not self.config.cached:
            return images, _Answers(shown, _ask(self.teacher, images.raw(shown)), None)
        every = ask_teacher(folder, self.teacher, images, self.reporter)
        return images, _Answers(shown, every[shown], every)

    def trainee(self, images: StoredImages, answers: _Answers) -> Trainee:
        """The student and all that it is trained with."""
        config, teacher = self.config, self.teacher
        held = min(_HELD_OUT, len(images) // 10)
        trained = len(images) - held
        batches = ViewedBatches(
            images.raw,
            Epochs(trained, int(config.batch_size or 1), seed=config.seed),
            space=teacher.space,
            preprocessor=teacher.preprocessor,
            views=self.views,
            seed=config.seed,
        )
        chosen_by = None
        if held:
            raw = images.raw(np.arange(trained, len(images)))
            logits = _ask(teacher, raw) if answers.every is None else answers.every[trained:]
            chosen_by = teacher.preprocessor.apply(raw), np.argmax(logits, axis=1)
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
            teacher=(asked_live(teacher) if answers.every is None else remembered(answers.every)),
            chosen_by=chosen_by,
            what="held-out agreement",
        )

    def finish(self, folder: RunFolder, selection: Selection, seen: _Seen) -> TrainingResult:
        """Tests and saves the best and the last student, and draws what they saw."""
        best_step = int(selection.best_step[0])
        agreement = float(selection.accuracies[0, selection.steps.index(best_step)])
        chosen = "best step by held-out agreement" if selection.validation else "last step"
        made = {
            "best": self._tested(selection.best, best_step, chosen, seen),
            "last": self._tested(selection.last, selection.steps[-1], "last step", seen),
        }
        title = f"{self.config.student} from {self.source.name}"
        save_networks(folder, made["best"], made["last"], title=title, reporter=self.reporter)
        images, answers = seen.images, seen.answers
        draw_seen(folder, images, answers.shown, answers.some, made["best"], self.reporter)
        return TrainingResult(
            made["best"],
            folder.path,
            made["best"].metadata.get("test_accuracy"),
            made["last"].metadata.get("test_accuracy"),
            best_step,
            selection.steps[-1],
            {
                "agreement": None if math.isnan(agreement) else agreement,
                "relative_entropy": seen.diagnosis.relative_entropy,
                "verdict": seen.diagnosis.verdict,
            },
        )

    def _tested(self, variables: Any, step: int, rule: str, seen: _Seen) -> TrainedNetwork:
        """A student with its test accuracy, where there are test images."""
        preprocessor, facts = self.teacher.preprocessor, self._facts(seen)
        facts |= {"step": step, "rule": rule}
        if self.data is not None and len(self.data.x_test):
            x, y = self.data.test_part(self.config.eval_examples)
            module = self.config.spec.build(len(self.teacher.class_names), self.teacher.space.shape)
            found = accuracy(module, variables, preprocessor.apply(x), y)
            facts |= {"test_accuracy": found, "test_examples": len(x)}
        return TrainedNetwork(self.config.spec, variables, preprocessor, facts)

    def _facts(self, seen: _Seen) -> dict[str, Any]:
        """What a student's file says of how it came about."""
        teacher, space = self.teacher, self.teacher.space
        config = dataclasses.asdict(self.config)
        return {
            "method": "distilled",
            "dataset": teacher.dataset,
            "training_hash": teacher.training_hash,
            "class_names": list(teacher.class_names),
            "image_shape": list(space.shape),
            "pixels": teacher.pixels.to_metadata(),
            "source": self.source.describe(),
            "source_images": len(seen.images),
            "teacher": teacher.facts,
            "diagnosis": seen.diagnosis.to_dict(),
            "config": {k: v for k, v in config.items() if k not in _NOT_RECORDED},
            "kipax_version": __version__,
        }
