"""What is known by heart of the named data sets: for plans that need no pixels.

Sizes and class names as in the data sets' own papers and the TensorFlow Datasets catalogue.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

__all__ = ["KNOWN", "DatasetFacts", "short_name"]


@dataclasses.dataclass(frozen=True)
class DatasetFacts:
    """A data set without its pixels.

    Attributes:
        image_shape: height, width, channels.
        class_names: in label order.
        train_examples, test_examples: sizes of the official parts.
    """

    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    train_examples: int
    test_examples: int


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
    "digits": DatasetFacts((8, 8, 1), _DIGITS, 1437, 360),
    "mnist": DatasetFacts((28, 28, 1), _DIGITS, 60_000, 10_000),
    "fashion_mnist": DatasetFacts((28, 28, 1), tuple(_FASHION.split(",")), 60_000, 10_000),
    "svhn_cropped": DatasetFacts((32, 32, 3), _DIGITS, 73_257, 26_032),
    "cifar10": DatasetFacts((32, 32, 3), tuple(_CIFAR10.split(",")), 50_000, 10_000),
    "cifar100": DatasetFacts((32, 32, 3), tuple(_CIFAR100.split(",")), 50_000, 10_000),
}


def short_name(dataset: str) -> str:
    """A data set's name without path or version: ``npz:/data/birds.npz`` is ``birds``."""
    kind, _, path = dataset.partition(":")
    if kind == "folder":
        return Path(path).resolve().name
    return Path(path).stem if kind == "npz" else kind
