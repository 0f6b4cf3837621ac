"""Distils networks from networks, from distilled sets, or from any function."""

from kipax.kd.anchors import Anchors
from kipax.kd.clusters import ClusterLabels
from kipax.kd.config import KDConfig, TeacherConfig
from kipax.kd.contrast import CRD, QueuedCRD
from kipax.kd.diagnosis import Diagnosis, diagnose, relative_entropy
from kipax.kd.distilling import Distillation, diagnose_source, run_kd
from kipax.kd.embeddings import SRRL, AlignUniform, Regression, RegressionBN
from kipax.kd.function_teacher import FunctionTeacher
from kipax.kd.grid import Cell, CellResult, run_cells
from kipax.kd.objectives import Distil, KnownLabels
from kipax.kd.selfsupervised import MoCo, NTXent
from kipax.kd.sources import SOURCES, ImageSpace, Source, SourceReader
from kipax.kd.teachers import (
    Domain,
    Ensemble,
    KernelTeacher,
    NetworkTeacher,
    Teacher,
    kernel_teacher,
)
from kipax.kd.teaching import run_teacher
from kipax.kd.trainee import TrainingResult
from kipax.kd.verdicts import judge_equal, judge_gap, judge_order, rank_correlation
from kipax.kd.views import Views

__all__ = [
    "CRD",
    "SOURCES",
    "SRRL",
    "AlignUniform",
    "Anchors",
    "Cell",
    "CellResult",
    "ClusterLabels",
    "Diagnosis",
    "Distil",
    "Distillation",
    "Domain",
    "Ensemble",
    "FunctionTeacher",
    "ImageSpace",
    "KDConfig",
    "KernelTeacher",
    "KnownLabels",
    "MoCo",
    "NTXent",
    "NetworkTeacher",
    "QueuedCRD",
    "Regression",
    "RegressionBN",
    "Source",
    "SourceReader",
    "Teacher",
    "TeacherConfig",
    "TrainingResult",
    "Views",
    "diagnose",
    "diagnose_source",
    "judge_equal",
    "judge_gap",
    "judge_order",
    "kernel_teacher",
    "rank_correlation",
    "relative_entropy",
    "run_cells",
    "run_kd",
    "run_teacher",
]
