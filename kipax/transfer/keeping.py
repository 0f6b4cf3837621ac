"""Keeps the networks that an evaluation trains, each as a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kipax.networks import TrainedNetwork
from kipax.students import StudentSpec
from kipax.support import SupportSet
from kipax.version import __version__

__all__ = ["network_file", "save_network"]


def network_file(folder: Path, student: StudentSpec, key: str) -> Path:
    """Returns the path of the file that keeps the network of a finished point.

    Args:
        folder: folder of the networks.
        student: the network.
        key: the key of the point in the ledger.
    """
    return folder / f"{student.name}-{key}.npz"


def save_network(
    file: Path,
    support: SupportSet,
    student: StudentSpec,
    variables: dict[str, Any],
    record: Mapping[str, Any],
) -> None:
    """Writes a network that was trained on a support set; see `kipax.load_network`.

    Args:
        file: the file to write.
        support: the set.
        student: the network.
        variables: its variables at the step that validation chose.
        record: the finished point, with ``test_best`` and ``best_step``.
    """
    facts, chosen = support.metadata, record.get("validation_best") is not None
    metadata = {
        "method": f"trained on {len(support)} images of {facts.get('method') or 'a set'}",
        "dataset": facts["dataset"],
        "training_hash": facts.get("training_hash") or "",
        "images_hash": facts.get("images_hash") or "",
        "class_names": list(support.class_names),
        "image_shape": list(support.images.shape[1:]),
        "pixels": support.pixels.to_metadata(),
        "step": record["best_step"],
        "test_accuracy": record["test_best"],
        "rule": "step of best validation accuracy" if chosen else "last step",
        "recipe": {
            k: record[k] for k in ("learning_rate", "l2", "seed") if record.get(k) is not None
        },
        "kipax_version": __version__,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    TrainedNetwork(student, variables, support.preprocessor, metadata).save(file)
