"""`analyse`: runs every analysis on the sets of a run and returns one JSON-ready result."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kipax.analysis.dimension import (
    gradient_distances,
    linear_dimension,
    linear_dimension_of_kernel,
    squared_distances,
    two_nn,
)
from kipax.analysis.labels import label_entropy, shared_classes
from kipax.analysis.nearest import nearest_of_parts
from kipax.analysis.spectrum import spectral_bands
from kipax.analysis.subsets import random_parts, subsampling
from kipax.config import (
    DATA_DIR_HELP,
    IMAGE_SIZE_HELP,
    KERNEL_FN_HELP,
    check_positive,
    check_seed,
    check_values,
    config_field,
)
from kipax.data import Dataset
from kipax.errors import UsageError, read_whole_numbers
from kipax.kernels import make_kernel_fn
from kipax.report import Progress, Reporter
from kipax.support import SupportSet

__all__ = [
    "AnalyseConfig",
    "analyse",
    "kernels_with",
    "measure_bands",
    "measure_dimensions",
    "measure_parts",
]

_ROWS = 2000  # training images preprocessed at once
_COMPARED = 100  # test images whose distances show what a usual distance is


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalyseConfig:
    """The settings of an analysis; ``--help`` explains each field.

    Raises:
        UsageError: a value out of range.
    """

    dataset: str | None = config_field(
        None, "data set of its real images, as for kipax kip (what the file says)"
    )
    data_dir: str | None = config_field(None, DATA_DIR_HELP)
    image_size: int | None = config_field(None, IMAGE_SIZE_HELP)
    kernel_fn: str | None = config_field(None, KERNEL_FN_HELP)
    eval_examples: int | None = config_field(
        1000, "test on this many test images, a fixed balanced part (at most all)"
    )
    bands: int = config_field(5, "bands of the spectrum")
    keep: str = config_field("20,40,60,80,100", "percentages of the images that parts keep")
    draws: int = config_field(100, "random parts of each size")
    seed: int = config_field(0, "seed of the parts")

    def __post_init__(self) -> None:
        check_values(self)
        check_positive(self, "image_size", "eval_examples", "bands", "draws")
        check_seed(self.seed)
        if max(self.percentages) > 100:
            raise UsageError(
                f"keep is a comma-separated list of percentages from 1 to 100; got {self.keep!r}."
            )

    @property
    def percentages(self) -> tuple[int, ...]:
        """The percentages of `keep` in rising order, with 100 as the last one."""
        return tuple(sorted({*read_whole_numbers("keep", self.keep), 100}))


def analyse(
    sets: Mapping[str, SupportSet],
    dataset: Dataset,
    config: AnalyseConfig | None = None,
    *,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Runs every analysis on several sets, most of them on the first and the last set alone.

    Args:
        sets: sets by name, all of one preprocessing, the first to be compared with, the last the
            one whose labels and nearest real images are told.
        dataset: its test images measure accuracies, its training images are those compared with.
        config: the settings; None for the defaults.
        reporter: is told the progress.

    Returns:
        JSON-ready: ``dimension`` (a row a set; its gradients are those of the wide network, or,
        with a kernel that is no network's, of the linear model on its features), ``spectrum``
        and ``subsampling`` (first and last set), ``labels`` and ``nearest`` (an entry an image),
        the numbers of images, ``config``.

    Raises:
        UsageError: there is no set, a set does not fit the data or has fewer than three distinct
            images, or its kernel's rank is below the number of bands.
        FailedRunError: as `kipax.ridge.solve`.

    Cost: s^2 kernel entries a set and t s for two sets; see each analysis.

    Source: Nguyen et al. 2021, section 4, appendix C.1; Figures 7, 8, A1, A3 and A4.
    """
    config, reporter = config or AnalyseConfig(), reporter or Reporter()
    if not sets:
        raise UsageError("an analysis needs at least one set; got none.")
    for one in sets.values():
        one.check_fits(dataset)
    last, (x, y) = list(sets.values())[-1], dataset.test_part(config.eval_examples)
    targets = last.preprocess(x)
    result: dict[str, Any] = {"dimension": [], "spectrum": {}, "subsampling": {}}
    for number, (name, one) in enumerate(sets.items(), 1):
        k_ss = None
        if number in (1, len(sets)):
            kernels = kernels_with(one, targets)
            k_ss = kernels[0]
            result["spectrum"][name] = measure_bands(one, kernels, y, bands=config.bands)
            result["subsampling"][name] = measure_parts(one, kernels, y, config)
        result["dimension"].append({"set": name} | measure_dimensions(one, k_ss=k_ss))
        reporter.progress(Progress(number, len(sets), unit="set"))
    result["labels"] = _labels(last)
    result["nearest"] = _nearest(last, dataset, targets[:_COMPARED], reporter)
    result |= {"images": len(last), "test_examples": len(x)}
    return result | {"config": dataclasses.asdict(config)}


def kernels_with(support: SupportSet, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the kernel matrices ``k_ss`` of a support set and ``k_ts`` of targets with it.

    Args:
        support: the set, whose own kernel is computed.
        targets: preprocessed images ``(t, H, W, C)``.

    Returns:
        ``k_ss``, ``(s, s)``, and ``k_ts``, ``(t, s)``.
    """
    k_ss = np.asarray(support.kernel_fn()(support.images))
    return k_ss, np.concatenate([block for _, block in support.kernel_blocks(targets)])


def measure_dimensions(support: SupportSet, *, k_ss: np.ndarray | None = None) -> dict[str, Any]:
    """Measures the intrinsic and the linear dimension of a support set's images and gradients.

    The gradients are those of the infinitely wide network's output with respect to its parameters,
    one for each image; distances between them follow from the NTK. For a kernel that is no
    network's they are the gradients of the linear model on the kernel's features.

    Args:
        support: a set of at least three distinct images.
        k_ss: the set's own kernel ``(s, s)``, where it has been computed already; None computes
            what is needed.

    Returns:
        JSON-ready: ``intrinsic_dimension`` and ``linear_dimension`` of the images, and both of the
        gradients with ``gradient_`` before the name; ``gradient_kernel``, the name of the kernel
        that the gradients belong to; ``distinct_images``; ``left_out`` and ``gradient_left_out``,
        the numbers of images whose pixels or gradients equal another image's;
        ``mean_label_entropy`` in bits; ``step``.

    Raises:
        UsageError: fewer than three distinct images, or ratios that say nothing.

    Source: Nguyen et al. 2021, appendix A; Figures 7, A3 and A4.
    """
    architecture = support.architecture
    kind = architecture.kinds[0]  # the NTK of a network, else its only kernel
    if k_ss is None or support.kernel != kind:
        kernel_fn = make_kernel_fn(architecture, kind=kind, backend=support.backend)
        k_ss = np.asarray(kernel_fn(support.images))
    of_images = two_nn(squared_distances(support.images))
    of_gradients = two_nn(gradient_distances(k_ss))
    return {
        "step": support.metadata.get("step"),
        "gradient_kernel": kind,
        "intrinsic_dimension": round(of_images.dimension, 3),
        "linear_dimension": linear_dimension(support.images),
        "gradient_intrinsic_dimension": round(of_gradients.dimension, 3),
        "gradient_linear_dimension": linear_dimension_of_kernel(k_ss),
        "distinct_images": of_images.distinct,
        "left_out": of_images.duplicates,
        "gradient_left_out": of_gradients.duplicates,
        "mean_label_entropy": round(float(label_entropy(support.labels).mean()), 4),
    }


def measure_bands(
    support: SupportSet,
    kernels: tuple[np.ndarray, np.ndarray],
    classes: np.ndarray,
    *,
    bands: int,
) -> dict[str, Any]:
    """Computes `spectral_bands` of a support set and returns them as JSON-ready values.

    Args:
        support: the set.
        kernels: ``k_ss`` and ``k_ts``, see `kernels_with`.
        classes: classes of the targets ``(t,)``.
        bands: number of bands.
    """
    found = spectral_bands(*kernels, support.labels, classes, bands=bands)
    return {
        "bands": [round(accuracy, 4) for accuracy in found.accuracies],
        "whole": round(found.whole, 4),
        "rank": found.rank,
    }


def measure_parts(
    support: SupportSet,
    kernels: tuple[np.ndarray, np.ndarray],
    classes: np.ndarray,
    config: AnalyseConfig,
) -> dict[str, dict[str, Any]]:
    """Measures the accuracy of random parts of a support set, with the ridge of that set.

    Args:
        support: the set.
        kernels: ``k_ss`` and ``k_ts``, see `kernels_with`.
        classes: classes of the targets ``(t,)``.
        config: its `keep`, `draws` and `seed`; sets of one size have the same parts.

    Returns:
        By percentage, JSON-ready: ``images`` of a part, ``mean`` and ``std`` of the accuracies.

    Source: Nguyen et al. 2021, appendix C.1 and Figure A1.
    """
    kept = {}
    for percent in config.percentages:
        draws = 1 if percent == 100 else config.draws  # all images are one part
        parts = random_parts(len(support), percent / 100, draws=draws, seed=config.seed)
        accuracies = subsampling(
            *kernels, support.labels, classes, parts=parts, ridge=support.ridge
        )
        kept[str(percent)] = {
            "images": len(parts[0]),
            "mean": round(float(accuracies.mean()), 4),
            "std": round(float(accuracies.std()), 4),
        }
    return kept


def _labels(support: SupportSet) -> dict[str, Any]:
    names = support.class_names
    shared = shared_classes(support.labels)
    return {
        "class": [names[c] for c in np.argmax(support.labels, axis=1)],
        "entropy": [round(float(bits), 4) for bits in label_entropy(support.labels)],
        "shares_most_with": [names[c] if c >= 0 else None for c in shared],
    }


def _nearest(
    support: SupportSet, dataset: Dataset, test: np.ndarray, reporter: Reporter
) -> dict[str, Any]:
    """Finds the nearest training image of each distilled image, and of some test images.

    The distances of the test images show what a usual distance is.
    """

    def parts() -> Iterator[np.ndarray]:
        count = len(dataset.x_train)
        for start in range(0, count, _ROWS):
            yield support.preprocessor.apply(dataset.x_train[start : start + _ROWS])
            reporter.progress(Progress(min(start + _ROWS, count), count, unit="training image"))

    distances, indices = nearest_of_parts(np.concatenate([support.images, test]), parts())
    own = len(support)
    return {
        "distance": [round(float(d), 4) for d in distances[:own]],
        "training_image": indices[:own].tolist(),
        "median": round(float(np.median(distances[:own])), 4),
        "median_of_test_images": round(float(np.median(distances[own:])), 4),
    }
