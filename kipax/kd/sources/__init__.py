"""Sources of images to distil on: functions of seed and index, in the teacher's units."""

from kipax.kd.sources.arrays import Images, from_dataset, from_support
from kipax.kd.sources.base import Drawn, ImageSpace, Source
from kipax.kd.sources.combined import Blend, Concatenation
from kipax.kd.sources.matched import Matched
from kipax.kd.sources.noise import Noise
from kipax.kd.sources.parse import SOURCES, SourceReader
from kipax.kd.sources.photo import draw_patches, make_pyramid
from kipax.kd.sources.shaders import Shaders

__all__ = [
    "SOURCES",
    "Blend",
    "Concatenation",
    "Drawn",
    "ImageSpace",
    "Images",
    "Matched",
    "Noise",
    "Shaders",
    "Source",
    "SourceReader",
    "draw_patches",
    "from_dataset",
    "from_support",
    "make_pyramid",
]
