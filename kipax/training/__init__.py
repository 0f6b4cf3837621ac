"""Trains networks: one loop for every network, objective and teacher."""

from kipax.students import predict
from kipax.training.batches import Batch, Batches, Epochs, LabelledBatches
from kipax.training.critical import critical_learning_rate
from kipax.training.evaluation import accuracy
from kipax.training.fit import Hook, Teacher, fit
from kipax.training.hooks import Checkpoint, Selection
from kipax.training.objectives import CrossEntropy, MeanSquare, Objective, Sum
from kipax.training.recipes import Descent, Recipe, Setting, evenly_spaced
from kipax.training.state import TrainState
from kipax.training.students import Trained, train_student, train_together

__all__ = [
    "Batch",
    "Batches",
    "Checkpoint",
    "CrossEntropy",
    "Descent",
    "Epochs",
    "Hook",
    "LabelledBatches",
    "MeanSquare",
    "Objective",
    "Recipe",
    "Selection",
    "Setting",
    "Sum",
    "Teacher",
    "TrainState",
    "Trained",
    "accuracy",
    "critical_learning_rate",
    "evenly_spaced",
    "fit",
    "predict",
    "train_student",
    "train_together",
]
