"""Evaluators of networks by their features: arrays in, numbers out."""

from kipax.probes.clusters import Alignment, align_clusters, cluster_alignment, find_clusters
from kipax.probes.cost import Cost, cost
from kipax.probes.features import normalise, standardise
from kipax.probes.few import FewShot, few_shot, labelled_part
from kipax.probes.linear import linear_probe, ridge_probe
from kipax.probes.neighbours import Neighbours, knn_accuracy, recall
from kipax.probes.table import PROBES, ProbeConfig, probe

__all__ = [
    "PROBES",
    "Alignment",
    "Cost",
    "FewShot",
    "Neighbours",
    "ProbeConfig",
    "align_clusters",
    "cluster_alignment",
    "cost",
    "few_shot",
    "find_clusters",
    "knn_accuracy",
    "labelled_part",
    "linear_probe",
    "normalise",
    "probe",
    "recall",
    "ridge_probe",
    "standardise",
]
