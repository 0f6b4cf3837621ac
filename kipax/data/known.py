"""Built-in facts about the named data sets, for plans that need no pixels.

Sizes and class names as in the data sets' own papers and the TensorFlow Datasets catalogue.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

__all__ = ["KNOWN", "DatasetFacts", "may_be_mirrored", "short_name"]


@dataclasses.dataclass(frozen=True)
class DatasetFacts:
    """The facts of a data set, without its pixels.

    Attributes:
        image_shape: height, width, channels.
        class_names: names of the classes in label order.
        train_examples: number of images of the official training part.
        test_examples: number of images of the official test part.
        mirrored: whether a mirrored image still belongs to its class.
    """

    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    train_examples: int
    test_examples: int
    mirrored: bool = True


_DIGITS = tuple("0123456789")
_FASHION = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
_CIFAR10 = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"
_CIFAR100 = (
    "apple,aquarium_fish,baby,bear,beaver,bed,bee,beetle,bicycle,bottle,bowl,boy,bridge,bus,"
    "butterfly,camel,can,castle,caterpillar,cattle,chair,chimpanzee,clock,cloud,cockroach,couch,"
    "crab,crocodile,cup,dinosaur,dolphin,elephant,flatfish,forest,fox,girl,hamster,house,kangaroo,"
    "keyboard,lamp,lawn_mower,leopard,lion,lizard,lobster,man,maple_tree,motorcycle,mountain,mouse,"
    "mushroom,oak_tree,orange,orchid,otter,palm_tree,pear,pickup_truck,pine_tree,plain,plate,poppy,"
    "porcupine,possum,rabbit,raccoon,ray,road,rocket,rose,sea,seal,shark,shrew,skunk,skyscraper,"
    "snail,snake,spider,squirrel,streetcar,sunflower,sweet_pepper,table,tank,telephone,television,"
    "tiger,tractor,train,trout,tulip,turtle,wardrobe,whale,willow_tree,wolf,woman,worm"
)

KNOWN: dict[str, DatasetFacts] = {
    "digits": DatasetFacts((8, 8, 1), _DIGITS, 1437, 360, mirrored=False),
    "mnist": DatasetFacts((28, 28, 1), _DIGITS, 60_000, 10_000, mirrored=False),
    "fashion_mnist": DatasetFacts((28, 28, 1), tuple(_FASHION.split(",")), 60_000, 10_000),
    "svhn_cropped": DatasetFacts((32, 32, 3), _DIGITS, 73_257, 26_032, mirrored=False),
    "cifar10": DatasetFacts((32, 32, 3), tuple(_CIFAR10.split(",")), 50_000, 10_000),
    "cifar100": DatasetFacts((32, 32, 3), tuple(_CIFAR100.split(",")), 50_000, 10_000),
}

# Words in the names of other sets whose pictures are digits or letters.
_CHARACTERS = {"characters", "chars", "digit", "digits", "letter", "letters"}
_CHARACTERS |= {"emnist", "kmnist", "mnist", "omniglot", "svhn", "usps"}
_FASHION_NAMES = {"fashionmnist", "fashion"}


def may_be_mirrored(dataset: str) -> bool:
    """Returns whether images of a data set may be mirrored.

    For unknown data sets the name decides: one with a word such as ``digits``, ``letters`` or
    ``mnist``, whatever numbers follow it, is taken for characters, which may not.

    Args:
        dataset: its name, with or without a path.

    Example:
        >>> may_be_mirrored("cifar10"), may_be_mirrored("npz:my_digits2.npz")
        (True, False)
    """
    name = short_name(dataset)
    if name in KNOWN:
        return KNOWN[name].mirrored
    words = set(re.split(r"[\W\d_]+", name.lower()))
    return bool(words & _FASHION_NAMES) or not words & _CHARACTERS


def short_name(dataset: str) -> str:
    """Returns a data set's name without path or version, ``birds`` for ``npz:/data/birds.npz``."""
    kind, _, path = dataset.partition(":")
    if kind == "folder":
        return Path(path).resolve().name
    return Path(path).stem if kind == "npz" else kind
