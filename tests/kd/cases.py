"""A small distillation, a listener, and helpers for interrupted runs."""

import dataclasses

from kipax.data import load_dataset
from kipax.errors import OutOfTime
from kipax.kd import (
    Distillation,
    FunctionTeacher,
    ImageSpace,
    KDConfig,
    NetworkTeacher,
    SourceReader,
)
from kipax.report import Reporter

SMALL = KDConfig(width=8, images=300, steps=30, batch_size=32, learning_rate=0.01)
DIGITS = ImageSpace([8, 8, 1], 0, 16, [4.9], [6])  # as a user may write it
NAMES = tuple("0123456789")
EMBEDDED = dataclasses.replace(SMALL, source="data", steps=4, mix="none")


def read_source(names=NAMES):
    """A reader of sources for a teacher of digits whose classes have these names."""
    return SourceReader(DIGITS, lambda: load_dataset("digits"), class_names=names)


def function_teacher(function, space=DIGITS, **fields):
    return FunctionTeacher(function, space, NAMES, **fields)


def some_pixels(raw):
    return raw.reshape(len(raw), -1)[:, 10:14]


def opened(taught, dataset=None, teacher=None, **fields):
    config = dataclasses.replace(EMBEDDED, **fields)
    return Distillation.open(
        config,
        teacher=teacher or NetworkTeacher(taught.network),
        dataset=dataset or load_dataset("digits"),
        reporter=Reporter(),
    )


class Listener(Reporter):
    def __init__(self):
        self.said = []

    def say(self, sentence):
        self.said.append(sentence)


def in_pieces(run, most=200):
    """Calls `run`, which stops after each progress, until it ends."""
    stops = 0
    for _ in range(most):
        try:
            return run(), stops
        except OutOfTime:
            stops += 1
    raise AssertionError("never finished")


def network_files(folder):
    return {f: (folder / f).read_bytes() for f in ("network.npz", "network_last.npz")}


def stops_before_the_same_bytes(run, config, folder):
    """Runs a config whole and in pieces, whose files must be equal; returns the number of stops.

    `run(config, workdir=..., resume=...)` runs it.
    """
    whole = run(config, workdir=folder / "whole", resume=False)
    hurried = dataclasses.replace(config, max_seconds=1e-9)
    cut, stops = in_pieces(lambda: run(hurried, workdir=folder / "cut", resume=True))
    assert network_files(cut.workdir) == network_files(whole.workdir)
    return stops
