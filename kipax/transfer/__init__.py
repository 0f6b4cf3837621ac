"""Training students on a support set, and evaluating it under named protocols."""

from kipax.transfer.augmentation import augment_batch, siamese
from kipax.transfer.config import EvaluateConfig
from kipax.transfer.evaluation import Result, evaluate, evaluate_subject
from kipax.transfer.ledger import Ledger
from kipax.transfer.paper import paper_value
from kipax.transfer.points import Point, Session
from kipax.transfer.protocols import EvaluationProtocol, names, protocol_by_name
from kipax.transfer.subjects import Subject, random_set, solve_labels
from kipax.transfer.table import caption, format_table
from kipax.transfer.training import (
    Recipe,
    Setting,
    Trained,
    accuracy,
    critical_learning_rate,
    train_student,
)

__all__ = [
    "EvaluateConfig",
    "EvaluationProtocol",
    "Ledger",
    "Point",
    "Recipe",
    "Result",
    "Session",
    "Setting",
    "Subject",
    "Trained",
    "accuracy",
    "augment_batch",
    "caption",
    "critical_learning_rate",
    "evaluate",
    "evaluate_subject",
    "format_table",
    "names",
    "paper_value",
    "protocol_by_name",
    "random_set",
    "siamese",
    "solve_labels",
    "train_student",
]
