"""Analyses of distilled images and labels: functions of arrays that return numbers."""

from kipax.analysis.dimension import (
    TwoNN,
    distinct_points,
    gradient_distances,
    intrinsic_dimension,
    intrinsic_dimension_of_distances,
    linear_dimension,
    linear_dimension_of_kernel,
    squared_distances,
    two_nn,
)
from kipax.analysis.labels import label_entropy, label_shares, shared_classes
from kipax.analysis.nearest import Nearest, nearest_images
from kipax.analysis.sets import (
    AnalyseConfig,
    analyse,
    kernels_with,
    measure_bands,
    measure_dimensions,
    measure_parts,
)
from kipax.analysis.spectrum import SpectralBands, spectral_bands
from kipax.analysis.subsets import random_parts, subsampling

__all__ = [
    "AnalyseConfig",
    "Nearest",
    "SpectralBands",
    "TwoNN",
    "analyse",
    "distinct_points",
    "gradient_distances",
    "intrinsic_dimension",
    "intrinsic_dimension_of_distances",
    "kernels_with",
    "label_entropy",
    "label_shares",
    "linear_dimension",
    "linear_dimension_of_kernel",
    "measure_bands",
    "measure_dimensions",
    "measure_parts",
    "nearest_images",
    "random_parts",
    "shared_classes",
    "spectral_bands",
    "squared_distances",
    "subsampling",
    "two_nn",
]
