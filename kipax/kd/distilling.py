"""`Distillation`: a network distilled from a teacher, on images of a source."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from kipax import files
from kipax.config import check_arguments, given
from kipax.data import Dataset
from kipax.data.datasets import check_dataset
from kipax.data.known import may_be_mirrored
from kipax.errors import UsageError
from kipax.files import hash_arrays
from kipax.kd.checks import (
    check_apart,
    check_classifies,
    check_effect,
    check_images,
    check_settings,
)
from kipax.kd.config import FORMULAS, KDConfig, identify, resolve
from kipax.kd.diagnosis import Diagnosis, diagnose
from kipax.kd.gathering import ASKED, Answers, drawn_count, gather, index_of
from kipax.kd.objectives import LOSSES
from kipax.kd.opening import (
    check_preprocessing,
    find_own_data,
    load_own_data,
    open_teacher_and_data,
)
from kipax.kd.pictures import draw_seen
from kipax.kd.preparing import chosen_by_words, prepare_trainee
from kipax.kd.sources import Source, SourceReader
from kipax.kd.sources.base import classes_of
from kipax.kd.stored import StoredImages, ask, ask_outputs
from kipax.kd.teachers import KernelTeacher, Teacher
from kipax.kd.term_config import TermConfig
from kipax.kd.trainee import (
    Trainee,
    TrainingResult,
    finish_training,
    saving_when_stopped,
    tested_network,
    train_in_folder,
)
from kipax.kd.views import Views
from kipax.networks import NETWORK_FILE, TrainedNetwork
from kipax.report import Reporter, limit_time
from kipax.runs import Identity, RunFolder
from kipax.students import without_classifier
from kipax.training import Selection
from kipax.version import __version__

__all__ = ["Distillation", "diagnose_source", "run_kd"]

_FINGERPRINT = 8  # images that identify an unlimited source, or a teacher by its answers
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
    """Trains a student from a teacher's answers, and from labels if the loss asks for them.

    The step of the lowest loss on held-out images of the source is kept; of a loss that compares
    no logits the step of best agreement with the teacher, and the last one where a student cannot
    agree. Test images, if any, are only reported.
    The same call with the same machine and versions gives the same bytes, whether it was
    interrupted or not.

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
    check_arguments(KDConfig, config, resume=resume)
    check_dataset(dataset)
    reporter = limit_time(
        reporter or Reporter(), config.max_seconds, remedy="continue with --resume"
    )
    run = Distillation.open(config, teacher=teacher, dataset=dataset, reporter=reporter)
    check_effect(config, run.config)
    return run.train(workdir or _default_workdir(run.config), resume=resume)


def diagnose_source(
    config: KDConfig, *, teacher: Teacher | None = None, reporter: Reporter | None = None
) -> Diagnosis:
    """Diagnoses a source by the teacher's answers; trains nothing and saves nothing."""
    run = Distillation.open(config, teacher=teacher, reporter=reporter or Reporter())
    check_effect(config, run.config)
    return run.diagnose()


def _default_workdir(config: KDConfig) -> str:
    """Returns ``runs/<teacher>-<source>-<student>``, with the last parts of paths."""
    teacher = Path(config.teacher)
    if teacher.name == NETWORK_FILE:
        teacher = teacher.parent
    words = [
        teacher.name.removesuffix(".npz"),
        config.source.rsplit("/", 1)[-1],
        given(config.student),
    ]
    kind = config.source.partition(":")[0]
    if "/" in config.source and kind not in words[1]:
        words[1] = f"{kind}-{words[1]}"
    return f"runs/{files.plain_name('-'.join(words))}"


def _fingerprint(answers: np.ndarray) -> list[Any]:
    """Summarises a teacher's answers ``(n, d)`` in a few rounded numbers that identify the teacher.

    Another device seldom changes one of them. They are the root mean square, the place of each
    row's largest number, and that number, the mean and the deviation of each row in hundredths of
    the root mean square.
    """
    size = float(np.sqrt(np.mean(answers**2))) or 1.0
    scaled = answers / size
    rows = scaled.max(axis=1), scaled.mean(axis=1), scaled.std(axis=1)
    hundredths = [(np.round(row, 2) + 0.0).tolist() for row in rows]  # no negative zero
    return [float(f"{size:.2g}"), answers.argmax(axis=1).tolist(), *hundredths]


class _Seen(NamedTuple):
    """The images that a student was trained on, with the teacher's answers and a diagnosis."""

    images: StoredImages
    answers: Answers
    diagnosis: Diagnosis | None


@dataclasses.dataclass(frozen=True, eq=False)
class Distillation:
    """A distillation that has been opened: its teacher, source and test data are at hand.

    Attributes:
        config: the resolved settings.
        teacher: the teacher.
        source: the source of the images.
        data: the data to test on; None for none.
        reporter: is told sentences and progress.
    """

    config: KDConfig
    teacher: Teacher
    source: Source
    data: Dataset | None
    reporter: Reporter

    @classmethod
    def open(
        cls,
        config: KDConfig,
        *,
        teacher: Teacher | None = None,
        dataset: Dataset | None = None,
        reporter: Reporter,
    ) -> Distillation:
        """Opens teacher, test data and source, and describes them; see `run_kd`."""
        teacher, data = open_teacher_and_data(
            config, teacher=teacher, dataset=dataset, reporter=reporter
        )
        check_preprocessing(teacher)
        config = resolve(config, preset="bridge" if isinstance(teacher, KernelTeacher) else None)
        reporter.say(f"teacher: {teacher.describe()}")
        own = functools.partial(
            find_own_data, teacher, data, lambda: load_own_data(teacher, config, Reporter())
        )
        reader = SourceReader(
            teacher.domain.space, own, config.data_dir, config.seed, teacher.domain.class_names
        )
        source = reader.read(config.source)
        reporter.say(f"source: {source.describe()}")
        if config.mirror is None:  # images of unknown content are not mirrored
            known = teacher.domain.dataset or (data.name if data else "")
            mirror = bool(known) and may_be_mirrored(known)
            config = dataclasses.replace(config, mirror=mirror)
        config = config.with_steps(drawn_count(config, source))
        run = cls(config, teacher, source, data, reporter)
        reporter.say(run.describe())
        _ = run.module  # raises for images too small
        check_settings(run.config, teacher, run.views)
        check_images(run.config, source, run.index)
        check_apart(source, data, reporter)
        return run

    def diagnose(self) -> Diagnosis:
        """Diagnoses the source by the teacher's answers to a thousand images; saves nothing.

        Raises:
            UsageError: training would choose or move the images, so that the source alone does
                not say what a student is shown, or the teacher does not classify.
        """
        if self.config.pool or self.config.boundary:
            raise UsageError(
                "a diagnosis looks at the source as it is; got pool "
                f"{self.config.pool} and boundary {self.config.boundary}: leave them out."
            )
        check_classifies(self.teacher, "a diagnosis needs")
        index = self.index[:ASKED]
        return diagnose(ask(self.teacher, self.source.images(index, seed=self.config.seed)))

    def train(
        self, workdir: Path | str, *, resume: bool = False, drawn: Path | None = None
    ) -> TrainingResult:
        """Draws the images, trains the student in a folder and tests it.

        Args:
            workdir: the run's folder.
            resume: see `run_kd`.
            drawn: folder of the drawn images and the teacher's answers, which distillations from
                one teacher may share; None for the run's folder.
        """
        folder = RunFolder(workdir)
        if drawn is not None:
            drawn.mkdir(parents=True, exist_ok=True)
        with folder.open(self.identity, resume=resume):
            with saving_when_stopped(folder, lambda: {}):
                images, answers = self.draw(drawn or folder.path)
            diagnosis = None
            if self.teacher.known_classes != 0 and self.config.needs.asks:
                diagnosis = diagnose(np.asarray(answers.of_sampled.logits))
                self.reporter.say(diagnosis.describe())
            trainee = self.trainee(images, answers)
            if trainee.labels is not None:
                self.reporter.say(f"the loss uses the labels of {trainee.labels:,} images")
            selection = train_in_folder(folder, trainee, self.reporter)
            return self._finish(folder, selection, _Seen(images, answers, diagnosis))

    @property
    def module(self) -> nn.Module:
        """The student's Flax network."""
        domain = self.teacher.domain
        return self.config.spec.build(len(domain.class_names), domain.space.shape)

    @property
    def views(self) -> Views:
        """How images are changed before the teacher and the student see them."""
        config = self.config
        return Views(
            level=given(config.augmentation),
            mirror=given(config.mirror),
            mix=given(config.mix),
            alpha=given(config.mix_alpha),
            per_example=given(config.mix_per_example),
        )

    def describe(self) -> str:
        """Describes the student and its training in one line."""
        config, views = self.config, self.views
        mirrored = f" ({'' if views.mirror else 'not '}mirrored)" if views.level != "none" else ""
        return (
            f"student: {config.spec.describe()} · {config.steps:,} steps of {config.batch_size} · "
            f"{config.optimizer} {config.learning_rate:g}, {config.schedule} · {self._loss_words}"
            f" · augmentation {config.augmentation}{mirrored}, mix {config.mix}"
            + (" · the teacher is asked once" if config.cached and config.needs.asks else "")
            + (f" · chosen from {config.pool:,}" if config.pool else "")
            + (" · at the teacher's boundaries" if config.boundary else "")
        )

    @property
    def _loss_words(self) -> str:
        """The loss in words, with the settings that its terms use."""
        config = self.config
        words = f"{config.loss}"
        if any(name in LOSSES for _, name in config.terms):
            words += f" at {config.temperature:g} times {config.scale:g}, signal {config.signal}"
        if config.labels < 1 and config.needs.labels:
            words += f", {config.labels:g} of the labels"
        own = [field.name for field in dataclasses.fields(TermConfig) if field.name != "labels"]
        for name in own:
            value = getattr(config, name)
            if name in config.needs.settings and value is not None:
                words += f", {name} {value}"
        return words

    @functools.cached_property
    def identity(self) -> Identity:
        """The facts that identify this run."""
        hashes = {"teacher": self._teacher_hash, "source": self._source_hash}
        hashes["formulas"] = str(FORMULAS)
        return identify("kd", self.config, hashes)

    @functools.cached_property
    def index(self) -> np.ndarray:
        """The indices of the source's images from which some or all are used."""
        return index_of(self.config, self.source)

    @property
    def _source_hash(self) -> str:
        """The hash of a finite source's images, or of the first images of an unlimited one."""
        index = self.index if self.source.size is not None else self.index[:_FINGERPRINT]
        arrays = {
            "images": self.source.images(index, seed=self.config.seed),
            "space": np.array(str(self.teacher.domain.space)),
        }
        classes = classes_of(self.source, index) if self.config.needs.reads_labels else None
        return hash_arrays(arrays if classes is None else arrays | {"classes": classes})[:16]

    @property
    def _teacher_hash(self) -> str:
        """The hash of the teacher's content, or of some answers if its content is unknown."""
        teacher = self.teacher
        facts: dict[str, Any] = {"facts": teacher.facts, "names": teacher.domain.class_names}
        if "teacher_hash" not in teacher.facts and self.config.needs.asks:
            first = self.source.images(self.index[:_FINGERPRINT], seed=self.config.seed)
            embeddings = teacher.embedding_size is not None
            answers = ask_outputs(teacher, first, embeddings=embeddings)
            facts["answers"] = _fingerprint(np.asarray(answers.logits))
            if embeddings:
                facts["embeddings"] = _fingerprint(np.asarray(answers.penultimate))
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def draw(self, folder: Path) -> tuple[StoredImages, Answers]:
        """Draws the images and asks the teacher about them; keeps both in a folder."""
        return gather(self.config, self.teacher, self.source, folder, reporter=self.reporter)

    def trainee(self, images: StoredImages, answers: Answers) -> Trainee:
        """Returns the student with its batches, objective and optimiser."""
        parts = self.config, self.teacher, self.module, self.views
        return prepare_trainee(*parts, images, answers)

    def _finish(self, folder: RunFolder, selection: Selection, seen: _Seen) -> TrainingResult:
        """Tests, saves and draws the best and the last student."""
        domain, facts = self.teacher.domain, self._facts(seen)

        def tested(variables: Any, own: dict[str, Any]) -> TrainedNetwork:
            spec, preprocessor = self.config.spec, domain.preprocessor
            if not self.config.needs.classifies:  # nothing taught its last layer
                variables = without_classifier(self.module, variables)
            network = TrainedNetwork(spec, variables, preprocessor, facts | own)
            return tested_network(network, self.data, self.config.eval_examples)

        result = finish_training(
            folder,
            selection,
            tested,
            chosen_by=chosen_by_words(self.config),
            title=f"{self.config.student} from {self.source.name}",
            reporter=self.reporter,
        )
        images, answers, diagnosis = seen
        if diagnosis is not None and self.config.needs.classifies:
            shown = answers.sampled, np.asarray(answers.of_sampled.logits)
            draw_seen(folder, images, *shown, result.network, domain.space, self.reporter)
        agreement = float(selection.accuracies[0, selection.steps.index(result.best_step)])
        further = {
            "agreement": None if math.isnan(agreement) else agreement,
            "relative_entropy": diagnosis.relative_entropy if diagnosis else None,
            "verdict": diagnosis.verdict if diagnosis else None,
        }
        return dataclasses.replace(result, facts=further)

    def _facts(self, seen: _Seen) -> dict[str, Any]:
        """Returns the metadata of the trained students."""
        teacher, domain = self.teacher, self.teacher.domain
        config = dataclasses.asdict(self.config)
        return {
            "method": "distilled" if self.config.needs.asks else "trained from labels",
            "dataset": domain.dataset,
            "training_hash": domain.training_hash,
            "images_hash": domain.images_hash,
            "class_names": list(domain.class_names),
            "image_shape": list(domain.space.shape),
            "pixels": domain.pixels.to_metadata(),
            "source": self.source.describe(),
            "source_images": len(seen.images),
            "teacher": teacher.facts if self.config.needs.asks else None,
            "diagnosis": seen.diagnosis.to_dict() if seen.diagnosis else None,
            "classifies": self.config.needs.classifies,
            "config": {k: v for k, v in config.items() if k not in _NOT_RECORDED},
            "kipax_version": __version__,
        }
