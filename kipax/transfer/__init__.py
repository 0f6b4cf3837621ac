"""Training students on a support set, and evaluating it under named protocols."""

from kipax.augment import augment_batch, augment_pair
from kipax.ledger import Ledger
from kipax.training import (
    Recipe,
    Setting,
    Trained,
    accuracy,
    critical_learning_rate,
    train_student,
    train_together,
)
from kipax.transfer.config import EvaluateConfig
from kipax.transfer.evaluation import (
    Evaluated,
    Opened,
    count_work,
    evaluate,
    evaluate_subject,
    grid_points,
    open_session,
    solved_set,
)
from kipax.transfer.paper import is_like_paper, paper_value
from kipax.transfer.points import Point, Session, choose_student
from kipax.transfer.protocols import EvaluationProtocol, protocol_by_name, protocol_names
from kipax.transfer.results import Result
from kipax.transfer.subjects import (
    Subject,
    as_subjects,
    load_checkpoints,
    load_support,
    name_beside_baselines,
    random_set,
    solve_labels,
)
from kipax.transfer.table import align, caption, format_table, percent

__all__ = [
    "EvaluateConfig",
    "Evaluated",
    "EvaluationProtocol",
    "Ledger",
    "Opened",
    "Point",
    "Recipe",
    "Result",
    "Session",
    "Setting",
    "Subject",
    "Trained",
    "accuracy",
    "align",
    "as_subjects",
    "augment_batch",
    "augment_pair",
    "caption",
    "choose_student",
    "count_work",
    "critical_learning_rate",
    "evaluate",
    "evaluate_subject",
    "format_table",
    "grid_points",
    "is_like_paper",
    "load_checkpoints",
    "load_support",
    "name_beside_baselines",
    "open_session",
    "paper_value",
    "percent",
    "protocol_by_name",
    "protocol_names",
    "random_set",
    "solve_labels",
    "solved_set",
    "train_student",
    "train_together",
]
