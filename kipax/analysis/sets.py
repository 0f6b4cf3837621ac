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

__all__ = ["AnalyseConfig", "analyse"]

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
        ``gradient_kernel``, the numbers of images, ``config``.

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
        of_gradients = one.architecture.kinds[0]  # the NTK, or a kernel that is no network's
        kernel_fn = make_kernel_fn(one.architecture, kind=of_gradients, backend=one.backend)
        ntk = np.asarray(kernel_fn(one.images))
        result["dimension"].append({"set": name} | _dimensions(one, ntk))
        if number in (1, len(sets)):
            own = one.kernel == of_gradients
            k_ss = ntk if own else np.asarray(one.kernel_fn()(one.images))
            spectrum, parts = _regressions(one, k_ss, (targets, y), config)
            result["spectrum"][name], result["subsampling"][name] = spectrum, parts
        reporter.progress(Progress(number, len(sets), unit="set"))
    result["labels"] = _labels(last)
    result["nearest"] = _nearest(last, dataset, targets[:_COMPARED], reporter)
    result |= {"gradient_kernel": last.architecture.kinds[0]}
    result |= {"images": len(last), "test_examples": len(x)}
    return result | {"config": dataclasses.asdict(config)}


def _dimensions(support: SupportSet, ntk: np.ndarray) -> dict[str, Any]:
    """Returns the dimensions of a set's images and of the wide network's gradients at them."""
    of_images = two_nn(squared_distances(support.images))
    return {
        "step": support.metadata.get("step"),
        "intrinsic_dimension": round(of_images.dimension, 3),
        "linear_dimension": linear_dimension(support.images),
        "gradient_intrinsic_dimension": round(two_nn(gradient_distances(ntk)).dimension, 3),
        "gradient_linear_dimension": linear_dimension_of_kernel(ntk),
        "distinct_images": of_images.distinct,
        "left_out": of_images.duplicates,
        "mean_label_entropy": round(float(label_entropy(support.labels).mean()), 4),
    }


def _regressions(
    support: SupportSet,
    k_ss: np.ndarray,
    test: tuple[np.ndarray, np.ndarray],
    config: AnalyseConfig,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the accuracies of a set's spectral bands, and of its parts by percentage."""
    targets, classes = test
    k_ts = np.concatenate([block for _, block in support.kernel_blocks(targets)])
    found = spectral_bands(k_ss, k_ts, support.labels, classes, bands=config.bands)
    spectrum = {
        "bands": [round(accuracy, 4) for accuracy in found.accuracies],
        "whole": round(found.whole, 4),
        "rank": found.rank,
    }
    kept = {}
    for percent in config.percentages:
        parts = random_parts(len(support), percent / 100, draws=config.draws, seed=config.seed)
        accuracies = subsampling(
            k_ss, k_ts, support.labels, classes, parts=parts, ridge=support.ridge
        )
        kept[str(percent)] = {
            "images": len(parts[0]),
            "mean": round(float(accuracies.mean()), 4),
            "std": round(float(accuracies.std()), 4),
        }
    return spectrum, kept


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
