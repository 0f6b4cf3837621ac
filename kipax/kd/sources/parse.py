"""Makes the sources that a command line names."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kipax import files
from kipax.data import Dataset, load_dataset
from kipax.data.folder import read_picture
from kipax.errors import UsageError, check_choice
from kipax.kd.sources.arrays import Part, from_dataset, from_support
from kipax.kd.sources.base import Drawn, ImageSpace, Source
from kipax.kd.sources.combined import Blend, Concatenation, Join
from kipax.kd.sources.fractals import draw_fractals
from kipax.kd.sources.leaves import draw_leaves
from kipax.kd.sources.matched import Matched
from kipax.kd.sources.noise import Noise
from kipax.kd.sources.photo import check_photo, draw_patches, make_pyramid
from kipax.kd.sources.shaders import Shaders
from kipax.loading import load

__all__ = ["SOURCES", "SourceReader"]

SOURCES = {
    "data": "the teacher's own training images; data:N a balanced part, data:N:R a long tail",
    "dataset:NAME": "another data set's training images",
    "folder:PATH": "pictures in a folder for each class, such as those that a generator wrote",
    "support:FILE": "the images of a distilled set",
    "photo": "patches of the photo that comes with kipax; photo:FILE of another",
    "shaders": "pictures of analytic formulae",
    "leaves": "shapes of random colour that hide one another",
    "fractals": "attractors of random maps",
    "noise": "normal noise with the teacher's statistics; noise:uniform",
    "matched:A": "a source's images, each with the mean and deviation of the teacher's own",
    "blend:W:A,B": "W times one source and 1 - W times another",
    "concat:A,B": "several sources in turn",
    "join:A,B": "all images of several sources",
}


@dataclasses.dataclass(frozen=True, eq=False)
class SourceReader:
    """Makes sources for one teacher.

    Attributes:
        space: the images that the teacher takes.
        own_data: loads the teacher's own data set; None if there is none to load.
        data_dir: folder of TensorFlow Datasets.
        seed: seed of parts.
        class_names: the teacher's classes, which name the labels of images.
    """

    space: ImageSpace
    own_data: Callable[[], Dataset] | None = None
    data_dir: str | None = None
    seed: int = 0
    class_names: tuple[str, ...] = ()

    def read(self, text: str) -> Source:
        """Makes the source that a text names, see `SOURCES`.

        Raises:
            UsageError: an unknown source, or one that does not fit the teacher.
            FileError: a file cannot be read.
        """
        kind, colon, rest = text.partition(":")
        readers: dict[str, Callable[[str], Source]] = {
            "data": self._data,
            "dataset": self._dataset,
            "folder": self._folder,
            "support": self._support,
            "photo": self._photo,
            "shaders": self._shaders,
            "leaves": self._leaves,
            "fractals": self._fractals,
            "noise": self._noise,
            "matched": self._matched,
            "blend": self._blend,
            "concat": self._concat,
            "join": self._join,
        }
        check_choice("source", kind, tuple(readers))
        if colon and not rest:
            raise UsageError(f"something must follow {kind}: in a source; got {text!r}.")
        return readers[kind](rest)

    @property
    def _grey(self) -> bool:
        return self.space.shape[-1] == 1

    def _data(self, rest: str) -> Source:
        count, _, ratio = rest.partition(":")
        try:
            part, imbalance = (int(count) if rest else None), float(ratio or 1)
        except ValueError:
            part, imbalance = 0, 1.0
        if (part is not None and part < 1) or not (imbalance >= 1 and math.isfinite(imbalance)):
            raise UsageError(
                "data:N takes a number of images, and data:N:R the largest class over the "
                f"smallest; got data:{rest}."
            )
        if self.own_data is None:
            raise UsageError(
                "the source data needs the teacher's own data set; there is none here."
            )
        return from_dataset(
            f"data:{rest}" if rest else "data",
            self.own_data(),
            self.space,
            own=True,
            part=None if part is None else Part(part, imbalance, self.seed),
            class_names=self.class_names,
        )

    def _dataset(self, rest: str) -> Source:
        self._check_given("dataset", rest, "NAME")
        data = load_dataset(rest, data_dir=self.data_dir)
        name = f"dataset:{rest}"
        return from_dataset(name, data, self.space, own=False, class_names=self.class_names)

    def _folder(self, rest: str) -> Source:
        self._check_given("folder", rest, "PATH")
        side = self.space.shape[0] if self.space.shape[0] == self.space.shape[1] else None
        data = load_dataset(f"folder:{rest}", image_size=side)
        if not (files.expand(rest) / "test").is_dir():
            # Loading sets some images of such a folder aside as test images: here all are used.
            x, y = np.concatenate([data.x_train, data.x_test]), np.append(data.y_train, data.y_test)
            data = dataclasses.replace(data, x_train=x, y_train=y)
        return from_dataset(
            f"folder:{rest}",
            data,
            self.space,
            own=False,
            span=(0.0, 255.0),
            class_names=self.class_names,
        )

    def _support(self, rest: str) -> Source:
        self._check_given("support", rest, "FILE")
        support = load(rest, data_dir=self.data_dir)
        return from_support(f"support:{rest}", support, self.space)

    def _photo(self, rest: str) -> Source:
        name = f"photo:{rest}" if rest else "photo"
        photo = read_picture(rest) if rest else _shipped_photo()
        shape = self.space.shape[:2]
        check_photo(photo, shape)
        pyramid = make_pyramid(photo)
        where = Path(rest).name if rest else "the photo that comes with kipax"
        return Drawn(
            name,
            self.space,
            lambda keys, shape: draw_patches(pyramid, keys, shape),
            f"patches of {where} ({photo.shape[0]} x {photo.shape[1]})",
            stretch=self._grey,
        )

    def _shaders(self, rest: str) -> Source:
        self._check_bare("shaders", rest)
        return Shaders(self.space, stretch=self._grey)

    def _leaves(self, rest: str) -> Source:
        self._check_bare("leaves", rest)
        words = "shapes of random colour that hide one another"
        return Drawn("leaves", self.space, draw_leaves, words, stretch=self._grey)

    def _fractals(self, rest: str) -> Source:
        self._check_bare("fractals", rest)
        words = "attractors of random maps"
        return Drawn("fractals", self.space, draw_fractals, words, stretch=self._grey)

    def _noise(self, rest: str) -> Source:
        kind = rest or "normal"
        check_choice("noise", kind, ("normal", "uniform"))
        return Noise(self.space, kind)

    def _matched(self, rest: str) -> Source:
        self._check_given("matched", rest, "photo")
        return Matched(self.read(rest), self.space)

    def _blend(self, rest: str) -> Source:
        weight, _, pair = rest.partition(":")
        names = split_sources(pair)
        try:
            share = float(weight)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1 or len(names) != 2:
            raise UsageError(
                "a blend is a weight from 0 to 1 and two sources, as in "
                f"blend:0.5:photo,noise; got blend:{rest}."
            )
        return Blend(share, self.read(names[0]), self.read(names[1]))

    def _concat(self, rest: str) -> Source:
        names = split_sources(rest)
        if len(names) < 2:
            raise UsageError(f"concat takes two sources or more, commas between; got {rest!r}.")
        return Concatenation(tuple(self.read(name) for name in names))

    def _join(self, rest: str) -> Source:
        names = split_sources(rest)
        if len(names) < 2:
            raise UsageError(f"join takes two sources or more, commas between; got {rest!r}.")
        return Join(tuple(self.read(name) for name in names))

    def _check_given(self, kind: str, rest: str, what: str) -> None:
        if not rest:
            raise UsageError(f"{kind} needs a name, as in {kind}:{what}.")

    def _check_bare(self, kind: str, rest: str) -> None:
        if rest:
            raise UsageError(f"nothing follows {kind} in a source; got {kind}:{rest}.")


def split_sources(text: str) -> list[str]:
    """Splits a list of sources at its commas; blends and concatenations cannot be nested.

    Example:
        >>> split_sources("photo,noise:uniform")
        ['photo', 'noise:uniform']
    """
    return [part.strip() for part in text.split(",") if part.strip()]


def _shipped_photo() -> np.ndarray:
    file = Path(__file__).with_name("photo.npz")
    return files.read_npz(file, ["photo"])["photo"]
