"""`TermConfig`: the settings of terms that compare embeddings or use labels."""

from __future__ import annotations

import dataclasses

from kipax.config import check_positive, check_share, config_field
from kipax.errors import UsageError, check_choice
from kipax.kd.anchors import ANCHOR_MODES
from kipax.kd.contrast import LEAST_TEMPERATURE
from kipax.kd.projectors import PROJECTORS

__all__ = ["TermConfig"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TermConfig:
    """The settings of terms that compare embeddings or use labels; each belongs to some terms."""

    labels: float = config_field(1.0, "share of each class's images whose labels the loss may use")
    projector: str = config_field(
        "mocov2", f"of align_uniform, crd and queued_crd, on both sides: {', '.join(PROJECTORS)}"
    )
    features: int = config_field(128, "length of a projection")
    anchor_mode: str | None = config_field(
        None, "of anchors: a queue of each side (2q), or the teacher's alone (1q) (by preset)"
    )
    anchor_temperature: float = config_field(0.04, "tau of anchors")
    queue: int | None = config_field(
        None, "anchors, or negatives of queued_crd (half of the images; 128,000 and 16,384 at most)"
    )
    averaging: float | None = config_field(
        None, "momentum of the averaged copy, for anchors of 2q; 0 for no copy (by preset)"
    )
    contrast_temperature: float = config_field(0.07, "tau of crd and queued_crd")
    negatives: int = config_field(4096, "other images that crd compares with (at most all)")
    clusters: int | None = config_field(
        None, "number of clusters of the term clusters (an eightieth of the images)"
    )

    def check_terms(self) -> None:
        """Raises a `UsageError` for a value that is out of range."""
        check_choice("projector", self.projector, PROJECTORS)
        if self.anchor_mode is not None:
            check_choice("anchor_mode", self.anchor_mode, ANCHOR_MODES)
        sizes = ("features", "anchor_temperature", "queue", "contrast_temperature", "negatives")
        check_positive(self, *sizes, "clusters")
        check_share(self, "averaging")
        if self.contrast_temperature < LEAST_TEMPERATURE:
            raise UsageError(
                f"contrast_temperature is at least {LEAST_TEMPERATURE:g}, below which exponentials "
                f"overflow; got {self.contrast_temperature:g}."
            )
        if not 0 < self.labels <= 1:
            raise UsageError(f"labels is a share, above 0 and at most 1; got {self.labels}.")
