"""Distillation: Kernel Inducing Points and Label Solve."""

from kipax.distill.config import KIPConfig, LabelSolveConfig
from kipax.distill.kip import run_kip
from kipax.distill.label_solve import run_label_solve
from kipax.distill.movie import write_movie
from kipax.distill.run import Evaluation, RunResult
from kipax.distill.subsets import SubsetRow, SubsetsConfig, run_subsets
from kipax.errors import Interrupted
from kipax.report import Progress, Reporter

__all__ = [
    "Evaluation",
    "Interrupted",
    "KIPConfig",
    "LabelSolveConfig",
    "Progress",
    "Reporter",
    "RunResult",
    "SubsetRow",
    "SubsetsConfig",
    "run_kip",
    "run_label_solve",
    "run_subsets",
    "write_movie",
]
