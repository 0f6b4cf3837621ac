"""`probe`: measures what can be read off a network's features, by several probes."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from kipax import files, plots
from kipax.config import (
    DATA_DIR_HELP,
    EVAL_EXAMPLES_HELP,
    IMAGE_SIZE_HELP,
    check_positive,
    check_seed,
    check_values,
    config_field,
)
from kipax.data import Dataset, Standard
from kipax.data.testing import check_units
from kipax.errors import UsageError, check_choice, split_list
from kipax.networks import TrainedNetwork
from kipax.probes.clusters import Alignment, align_clusters, check_scikit_learn
from kipax.probes.cost import cost
from kipax.probes.features import features_of
from kipax.probes.few import few_shot, labelled_part
from kipax.probes.linear import linear_probe, ridge_probe
from kipax.probes.neighbours import knn_accuracy, recall
from kipax.probes.pictures import draw_clusters
from kipax.report import Progress, Reporter

__all__ = ["PROBES", "ProbeConfig", "check_fits", "probe"]

_RULES = {
    "linear": "linear classifier on standardised features, SGD 0.01, 40 epochs, not augmented",
    "ridge": "ridge regression on standardised features, ridge by leave-one-out error",
    "knn": "nearest training image by cosine similarity",
    "cluster_alignment": "k-means of as many clusters as classes, named by the best assignment",
    "recall": "test images with one of their class among the k nearest other test images",
    "few_shot": "nearest of one image a class (ten draws), 1 % and 10 % of the images (one draw)",
    "cost": "parameters, XLA's operations and seconds of an image",
}
PROBES = tuple(_RULES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """The settings of a probe; ``--help`` explains each field.

    Raises:
        UsageError: a value out of range or an unknown name.
    """

    dataset: str | None = config_field(None, "data set to probe with (the network's own)")
    data_dir: str | None = config_field(None, DATA_DIR_HELP)
    image_size: int | None = config_field(None, IMAGE_SIZE_HELP)
    probes: str = config_field(",".join(PROBES), "which probes, with commas between")
    k: int = config_field(1, "number of neighbours")
    train_examples: int | None = config_field(
        None, "number of training images, drawn in the classes' proportions (all)"
    )
    eval_examples: int | None = config_field(None, EVAL_EXAMPLES_HELP)
    pictures: str | None = config_field(
        None, "folder for pictures of the clusters, with the probe cluster_alignment (none)"
    )
    seed: int = config_field(0, "seed of every random choice")

    def __post_init__(self) -> None:
        check_values(self)
        check_positive(self, "image_size", "k", "train_examples", "eval_examples")
        check_seed(self.seed)
        for name in self.chosen:
            check_choice("probe", name, PROBES)
        if self.pictures is not None and "cluster_alignment" not in self.chosen:
            raise UsageError(
                f"pictures show the probe cluster_alignment; got {self.probes}: add it, or leave "
                "pictures out."
            )

    @property
    def chosen(self) -> tuple[str, ...]:
        """The probes that were asked for, in order."""
        return tuple(dict.fromkeys(split_list(self.probes)))


def probe(
    network: TrainedNetwork | None,
    dataset: Dataset,
    config: ProbeConfig | None = None,
    *,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Runs probes on a network's penultimate features, or on standardised pixels.

    Training images fit the probes; test images are only reported.

    Args:
        network: the network; None for pixels.
        dataset: the data, of the network's image shape; other classes than its own are welcome.
        config: the settings; None for all probes.
        reporter: is told the rules and the progress.

    Returns:
        JSON-ready results by probe. Pictures are written if the config names a folder.

    Raises:
        UsageError: the images do not fit the network.

    Source: Koohpayegani et al. 2020, arXiv:2010.14713, section 4.
    """
    config, reporter = config or ProbeConfig(), reporter or Reporter()
    chosen = _possible(config, reporter)
    if network is not None:
        check_fits(network, dataset)
    if config.pictures is not None:
        files.make_folder(config.pictures)  # before the work, which would be lost
    data = _Features.of(network, dataset, config)
    results: dict[str, Any] = {}
    for number, name in enumerate(chosen, 1):
        results[name] = _measure(name, data, network, config)
        reporter.say(f"{name}: {_RULES[name]}")
        reporter.progress(Progress(number, len(chosen), unit="probe"))
    if config.pictures is not None:
        _write_pictures(files.expand(config.pictures), data, dataset, config)
    return results


def _possible(config: ProbeConfig, reporter: Reporter) -> list[str]:
    """Returns the names of the chosen probes, without those of a default choice that cannot run.

    Raises:
        ImportError: the user asked for clusters, and scikit-learn is missing.
    """
    chosen = list(config.chosen)
    if "cluster_alignment" in chosen:
        try:
            check_scikit_learn()
        except ImportError as error:
            if config.probes != ProbeConfig().probes or config.pictures is not None:
                raise
            chosen.remove("cluster_alignment")
            reporter.say(f"cluster_alignment is left out: {error}")
    return chosen


def _write_pictures(folder: Path, data: _Features, dataset: Dataset, config: ProbeConfig) -> None:
    raw, classes = dataset.test_part(config.eval_examples)
    for name, figure in draw_clusters(data.alignment, dataset, raw, classes).items():
        files.write_bytes(folder / name, plots.to_png(figure))


def check_fits(network: TrainedNetwork, dataset: Dataset) -> None:
    """Raises a `UsageError` if a data set's images do not fit a network in shape or scale.

    Args:
        network: the network.
        dataset: the data set.
    """
    if dataset.image_shape != network.image_shape:
        raise UsageError(
            f"the network takes images {network.image_shape}; {dataset.name} has "
            f"{dataset.image_shape}: name fitting data with --dataset."
        )
    if dataset.training_hash != network.metadata.get("training_hash"):
        check_units(dataset, network.pixels)


@dataclasses.dataclass(frozen=True, eq=False)
class _Features:
    """Features and classes of training and test images, and the seed of what is drawn."""

    train: np.ndarray
    train_classes: np.ndarray
    test: np.ndarray
    test_classes: np.ndarray
    seed: int

    @classmethod
    def of(cls, network: TrainedNetwork | None, dataset: Dataset, config: ProbeConfig) -> _Features:
        x, y = dataset.x_train, dataset.y_train
        if config.train_examples is not None and config.train_examples < len(x):
            part = labelled_part(y, share=config.train_examples / len(x), seed=config.seed)
            x, y = x[part], y[part]
        x_test, y_test = dataset.test_part(config.eval_examples)
        standard = Standard.fit(dataset.x_train) if network is None else None

        def features(raw: np.ndarray) -> np.ndarray:
            if standard is not None:
                return standard.apply(raw).reshape(len(raw), -1)
            assert network is not None
            return features_of(network, raw)

        parts = features(x), y.astype(int), features(x_test), y_test.astype(int)
        return cls(*parts, config.seed)

    @functools.cached_property
    def alignment(self) -> Alignment:
        """The clusters of the features; see `align_clusters`."""
        return align_clusters(*self.both, seed=self.seed)

    @property
    def both(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The arguments that most probes take, in their order."""
        return self.train, self.train_classes, self.test, self.test_classes


def _measure(
    name: str, data: _Features, network: TrainedNetwork | None, config: ProbeConfig
) -> Any:
    """Runs one probe by its name; returns its result, JSON-ready."""
    if name == "linear":
        return round(linear_probe(*data.both, seed=config.seed), 4)
    if name == "ridge":
        return round(ridge_probe(*data.both), 4)
    if name == "knn":
        return {k: round(v, 4) for k, v in knn_accuracy(*data.both, k=config.k)._asdict().items()}
    if name == "cluster_alignment":
        return round(data.alignment.accuracy, 4)
    if name == "recall":
        return {str(k): round(v, 4) for k, v in recall(data.test, data.test_classes).items()}
    if name == "few_shot":
        cases: dict[str, dict[str, Any]] = {
            "1": {"per_class": 1, "draws": 10},
            "1%": {"share": 0.01},
            "10%": {"share": 0.1},
        }
        return {k: round(few_shot(*data.both, **v).accuracy, 4) for k, v in cases.items()}
    if network is None:
        return None
    return cost(network.module, network.variables, network.image_shape)._asdict()
