"""The kinds of training that a teacher can have, and the settings that belong to each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kipax.config import check_share
from kipax.errors import UsageError

if TYPE_CHECKING:
    from kipax.kd.config import TeacherConfig

__all__ = ["KINDS", "OBJECTIVES", "SELF_SUPERVISED", "Kind", "check_kind", "kind_of"]

OBJECTIVES = ("labels", "simclr", "moco")
SELF_SUPERVISED = OBJECTIVES[1:]


class Kind(NamedTuple):
    """A kind of training.

    Attributes:
        presets: names of its presets; the first is taken where none is named.
        settings: names of its own settings, which no other kind has unless it lists them too.
    """

    presets: tuple[str, ...]
    settings: tuple[str, ...] = ()


KINDS = {
    "labels": Kind(("small", "single_image", "surrogate"), ("smoothing",)),
    "simclr": Kind(("small_simclr", "simclr"), ("temperature", "projector")),
    "moco": Kind(("small_moco", "moco"), ("temperature", "projector", "queue", "averaging")),
    "linear_probe": Kind(("linear_probe",), ("smoothing",)),
    "fine_tune": Kind(("fine_tune",), ("smoothing", "backbone_rate")),
}
# The flags that ask for each kind of training, for messages.
_FLAGS = {
    "labels": "--objective=labels",
    "simclr": "--objective=simclr",
    "moco": "--objective=moco",
    "linear_probe": "--linear_probe=FILE",
    "fine_tune": "--fine_tune=FILE",
}


def kind_of(config: TeacherConfig) -> str:
    """Returns the name in `KINDS` of the training that a config asks for."""
    if config.linear_probe is not None:
        return "linear_probe"
    return config.objective if config.fine_tune is None else "fine_tune"


def check_kind(config: TeacherConfig) -> None:
    """Raises a `UsageError` for settings that contradict the kind of training.

    Args:
        config: the settings, each of a valid value by itself.
    """
    started = [name for name in ("linear_probe", "fine_tune") if getattr(config, name) is not None]
    if len(started) > 1 or (started and config.objective != "labels"):
        raise UsageError(
            "a network's file gets a new head from labels, by --linear_probe or --fine_tune; got "
            f"{' and '.join(started)} with objective {config.objective}: leave the others out."
        )
    kind = kind_of(config)
    if config.preset and config.preset not in KINDS[kind].presets:
        raise UsageError(
            f"the presets for {_FLAGS[kind]} are {', '.join(KINDS[kind].presets)}; got "
            f"{config.preset}."
        )
    _check_settings(config, kind)
    if kind in SELF_SUPERVISED and config.augmentation == "none":
        raise UsageError(
            f"{kind} compares two different views of an image; got augmentation none: take "
            "contrastive."
        )
    if kind == "simclr" and config.batch_size == 1:
        raise UsageError(
            "simclr tells an image from the others of its batch; got batch_size 1: take 2 or more."
        )
    if kind == "linear_probe" and config.augmentation not in (None, "none"):
        raise UsageError(
            "a linear probe computes the features of each image once; got augmentation "
            f"{config.augmentation}: leave it out, or take --fine_tune."
        )
    check_share(config, "averaging")


def _check_settings(config: TeacherConfig, kind: str) -> None:
    """Raises a `UsageError` for a setting that belongs to other kinds of training alone."""
    for name in sorted({name for other in KINDS.values() for name in other.settings}):
        value, default = getattr(config, name), type(config).__dataclass_fields__[name].default
        if value == default or name in KINDS[kind].settings:
            continue
        owners = " or ".join(_FLAGS[k] for k, other in KINDS.items() if name in other.settings)
        raise UsageError(f"{name} is for {owners}; got {value} with {_FLAGS[kind]}.")
