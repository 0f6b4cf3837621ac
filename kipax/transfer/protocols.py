"""Named evaluation protocols, which define what a number in a table of distilled sets means.

The images are used in their own preprocessed space under every protocol; what differs is the
student, its training, and which network's accuracy is reported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from kipax.data.known import may_be_mirrored
from kipax.errors import UsageError, check_choice
from kipax.training import Recipe
from kipax.training.recipes import LOSSES

__all__ = ["GRIDS", "EvaluationProtocol", "protocol_by_name", "protocol_names"]

# Learning-rate factors and L2 of kip-nn: the paper's 20 points; four for a small machine; the
# single point of the authors' notebook.
GRIDS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "paper": ((0.5, 1.0, 2.0, 4.0), (0.0, 1e-7, 1e-5, 1e-3, 1e-1)),
    "small": ((0.5, 2.0), (0.0, 1e-3)),
    "one": ((1.0,), (1e-3,)),
}
# Updates of kip-nn that are not 5,000, by data set and loss; Nguyen et al. 2021, appendix A.
_KIP_STEPS = {
    ("svhn_cropped", "mse"): 10_000,
    ("svhn_cropped", "xent"): 10_000,
    ("cifar100", "mse"): 25_000,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """The rules by which a distilled set is evaluated.

    Attributes:
        name: name of the protocol, as in ``--protocol``.
        trains: False for kernel ridge regression.
        network: the student; empty for the architecture that the set was distilled with.
        width: channels of the student; None for the network's own.
        normalisation: normalisation of the student; None for the network's own.
        losses: losses of `kipax.training.recipes`; with several, validation chooses.
        optimizer, schedule, batch_size: see `kipax.transfer.Recipe`.
        augmentation: see `kipax.transfer.Recipe`, without the ``_noflip`` of digits.
        mirror: whether images may be mirrored; None decides by the data set.
        learning_rates: learning rates of the grid; factors of the critical rate if `relative`.
        relative: whether `learning_rates` are factors of the critical rate.
        l2: L2 values of the grid.
        steps: number of updates by (images, data set, loss).
        validation_examples: images held out of training that choose grid point and step; 0
            reports the last network of the one point.
        checkpoints: whether validation also chooses among a run's checkpoints.
        seeds: number of networks trained at the chosen point.
        source: where the constants come from.
    """

    name: str
    trains: bool = True
    network: str = ""
    width: int | None = None
    normalisation: str | None = None
    losses: tuple[str, ...] = ("mse",)
    optimizer: str = "momentum"
    schedule: str = "cosine"
    batch_size: int = 100
    augmentation: str = "none"
    mirror: bool | None = None
    learning_rates: tuple[float, ...] = (1.0,)
    relative: bool = False
    l2: tuple[float, ...] = (0.0,)
    steps: Callable[[int, str, str], int] = lambda images, dataset, loss: 5000
    validation_examples: int = 0
    checkpoints: bool = False
    seeds: int = 1
    source: str = ""

    def __post_init__(self) -> None:
        for loss in self.losses:
            check_choice("loss", loss, LOSSES)
        if self.seeds < 1:
            raise UsageError(f"seeds must be positive; got {self.seeds}.")
        if not self.validation_examples and len(self.points) > 1:
            raise UsageError(
                f"{self.name} without validation images has one grid point; got "
                f"{len(self.points)}: give it validation_examples."
            )

    @property
    def points(self) -> list[tuple[str, float, float]]:
        """The (loss, learning rate or factor, l2) of every grid point."""
        return [(a, b, c) for a in self.losses for b in self.learning_rates for c in self.l2]

    @property
    def rule(self) -> str:
        """The selection rule, for the caption."""
        choices = ["checkpoint"] if self.checkpoints else []
        if self.trains:
            choices += ["grid point"] * (len(self.points) > 1) + ["step"]
        if not (choices and self.validation_examples):
            return "the last network" if self.trains else "nothing is chosen"
        return f"{', '.join(choices)} by validation accuracy"

    def mirrors(self, dataset: str) -> bool:
        """Returns whether a data set's images may be mirrored under this protocol."""
        return may_be_mirrored(dataset) if self.mirror is None else self.mirror

    def recipe(self, loss: str, *, images: int, dataset: str) -> Recipe:
        """Returns the recipe for a set of `images` images of the data set `dataset`."""
        augmentation = self.augmentation
        if augmentation in ("dsa", "frepo") and not self.mirrors(dataset):
            augmentation += "_noflip"
        return Recipe(
            loss=loss,
            steps=self.steps(images, dataset, loss),
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            schedule=self.schedule,
            augmentation=augmentation,
        )


def _epochs(epochs: int, batch_size: int) -> Callable[[int, str, str], int]:
    return lambda images, dataset, loss: epochs * -(-images // batch_size)


def _kip_steps(images: int, dataset: str, loss: str) -> int:
    return _KIP_STEPS.get((dataset, loss), 5_000)


def _frepo_steps(images: int, dataset: str, loss: str) -> int:
    table = ((10, 1_000), (100, 2_000), (500, 5_000), (1_000, 10_000))
    return next((steps for size, steps in table if images <= size), 40_000)


def krr() -> EvaluationProtocol:
    """Returns ``krr``: kernel ridge regression with the set's own kernel, or any architecture's.

    Ridge 1e-6 times tr(k_ss) / n (what the file says); NTK; all test images; nothing is chosen.

    Source: Nguyen et al. 2021, arXiv:2107.13034, appendix A, tables 1 and A1.
    """
    return EvaluationProtocol(name="krr", trains=False, source="arXiv:2107.13034, table 1")


def kip_nn() -> EvaluationProtocol:
    """Returns ``kip-nn``: the transfer of the KIP paper.

    Network: the finite one of the set's architecture, width 1024, no normalisation (networks of the
    zoo: their own), standard parameterisation, W_std sqrt(2), b_std 0.1. Training: mean square
    error (half the mean) on the set's labels, or softmax cross-entropy on the largest label;
    momentum 0.9; cosine decay to 0; full batch up to 100 images, batches of 100 beyond; 5,000 steps
    (SVHN 10,000, CIFAR-100 with mean square error 25,000); learning rate 0.5, 1, 2 and 4 times the
    critical one, 2 N C / lambda_max of the empirical NTK of min(64, n) training points at
    initialisation (2 N / lambda_max for cross-entropy, our reading); L2 0, 1e-7, 1e-5, 1e-3 and
    1e-1 as half of it times the squared norm of all parameters. No augmentation. Chosen and
    early-stopped on 5,000 validation images (here looked at ten times a run). Deviation: in the
    paper over the 20 best by validation.

    Source: Nguyen et al. 2021, arXiv:2107.13034, appendix A; the authors' nn_training notebook
    for the scale of the loss and labels.
    """
    factors, l2 = GRIDS["paper"]
    return EvaluationProtocol(
        name="kip-nn",
        losses=("mse", "xent"),
        learning_rates=factors,
        relative=True,
        l2=l2,
        steps=_kip_steps,
        validation_examples=5000,
        seeds=3,
        source="arXiv:2107.13034, table 2",
    )


def dc() -> EvaluationProtocol:
    """Returns ``dc``: the evaluation of dataset condensation.

    Network: ConvNet-3, width 128, instance normalisation, first convolution padded by 3 pixels
    on grey images. Training: cross-entropy on hard labels, 300 epochs of SGD, momentum 0.9,
    learning rate 0.01, a tenth after half of the epochs, weight decay 5e-4, batch 256. No
    augmentation (its code crops, scales and rotates MNIST alone; not here). 20 networks, the
    last counts. Its first weights are PyTorch's defaults.

    Source: Zhao et al. 2021, arXiv:2006.05929, and the authors' code (MIT).
    """
    return EvaluationProtocol(
        name="dc",
        network="dc-convnet3",
        losses=("xent",),
        schedule="drop",
        batch_size=256,
        learning_rates=(0.01,),
        l2=(5e-4,),
        steps=_epochs(300, 256),
        seeds=20,
        source="arXiv:2006.05929",
    )


def dsa() -> EvaluationProtocol:
    """Returns ``dsa``: the evaluation of differentiable siamese augmentation.

    DM's too, which trains 5 networks on each of 5 sets; MTT's, which takes its learnt rate.

    As ``dc`` with 1,000 epochs and one operation a batch, each image with its own draw: colour
    (brightness 1, saturation 2, contrast 0.5), shift by up to 0.125, cutout of 0.5, flip,
    scaling by up to 1.2, rotation by up to 15 degrees; digits are not flipped. 20 networks, the
    last counts.

    Source: Zhao & Bilen 2021, arXiv:2102.08259, and the authors' code (MIT).
    """
    return dataclasses.replace(
        dc(), name="dsa", augmentation="dsa", steps=_epochs(1000, 256), source="arXiv:2102.08259"
    )


def frepo() -> EvaluationProtocol:
    """Returns ``frepo``: the evaluation of FRePo.

    Network: three [conv, relu, pool], 128, 256 and 512 channels, no normalisation, LeCun
    initialisation, first convolution padded by 3 pixels on grey images. Training: half the mean
    square error on the set's labels; Adam, learning rate 3e-4, linear warm-up over 500 steps,
    cosine decay to 1 %; 1,000 steps for 10 images, 2,000 for 100, 5,000 for 500, 10,000 for
    1,000, 40,000 beyond; the whole set up to 500 images a step. One operation a step of flip,
    colour (0.25), scaling 0.8 to 1.25, rotation by 15 degrees, shift by 0.125 and cutout of a
    quarter; digits are not flipped. 5 networks, the last counts. Its batch size and how its
    colour change divides into brightness, contrast and saturation are our reading.

    Source: Zhou et al. 2022, arXiv:2206.00719.
    """
    return EvaluationProtocol(
        name="frepo",
        network="frepo-convnet3",
        optimizer="adam",
        schedule="warmup_cosine",
        batch_size=500,
        augmentation="frepo",
        learning_rates=(3e-4,),
        steps=_frepo_steps,
        seeds=5,
        source="arXiv:2206.00719",
    )


_PROTOCOLS = {"krr": krr, "kip-nn": kip_nn, "dc": dc, "dsa": dsa, "frepo": frepo}


def protocol_names() -> tuple[str, ...]:
    """Returns the names of the protocols."""
    return tuple(_PROTOCOLS)


def protocol_by_name(name: str) -> EvaluationProtocol:
    """Returns the protocol called `name`; raises a `UsageError` that lists the choices.

    Example:
        >>> protocol_by_name("frepo").learning_rates
        (0.0003,)
    """
    check_choice("protocol", name, protocol_names())
    return _PROTOCOLS[name]()
