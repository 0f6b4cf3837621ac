"""Training networks: one loop, alone or for several settings at once."""

from kipax.training.loop import (
    Recipe,
    Setting,
    Trained,
    accuracy,
    critical_learning_rate,
    train_student,
)
from kipax.training.together import train_together

__all__ = [
    "Recipe",
    "Setting",
    "Trained",
    "accuracy",
    "critical_learning_rate",
    "train_student",
    "train_together",
]
