r"""Tables 1 and 3-6 of Frank & Davis 2025: which data can stand in for a teacher's own.

Claims: noise teaches less than leaves, these less than shaders, and these less than the teacher's
own data (data, Table 1); the more evenly the teacher's classes are spread over a source, the more
it teaches (the rank correlation after each table, Table 3); shaders need full answers, own data do
not (signals, Table 4); a long tail of classes teaches less than balanced ones, and MixUp narrows
the gap (balance, Table 4); shaders need augmentation, own data do not, and extreme changes harm
them (levels, Table 5); images moved to the teacher's boundaries rescue a bad source and help a
good one a little (boundary, Table 6).

Command:  kipax teacher --dataset=npz:fashion_mnist.npz --network=wrn16-1 --workdir=runs/teacher
          python -m experiments.paper.surrogate --teacher=runs/teacher \
              --dataset=npz:fashion_mnist.npz --student=wrn10-1 --table=data --seeds=3 \
              --others=npz:mnist.npz,npz:cifar10.npz
Expected: docs/distil_results.md. The settings are our preset small; the paper's own
          (--preset=surrogate, a ResNet-50 on CIFAR-10) are a GPU's.
"""

import itertools

from absl import flags

from experiments.paper.kd_table import Table, run_tables
from kipax.data.known import short_name
from kipax.kd import Cell

flags.DEFINE_list("others", [], "other data sets, as for --dataset, with commas between")
flags.DEFINE_integer("part", 2000, "images of the table balance")
flags.DEFINE_integer("attacked", 3000, "images of the table boundary that are moved")
_SOURCES = ("shaders", "data")


def _data() -> Table:
    synthetic = [Cell(name, {"source": name}) for name in ("noise", "leaves", "shaders")]
    others = [Cell(short_name(n), {"source": f"dataset:{n}"}) for n in flags.FLAGS.others]
    paper = {"noise": 69.24, "leaves": 92.08, "shaders": 94.02, "data": 95.98}
    claims = (("noise", "leaves", "shaders", "data"),)
    own = Cell("data", {"source": "data"})
    return Table("the data (1)", (*synthetic, *others, own), paper, claims)


def _signals() -> Table:
    signals = ("argmax", "smoothed", "full")
    pairs = list(itertools.product(_SOURCES, signals))
    cells = tuple(Cell(f"{s}, {kind}", {"source": s, "signal": kind}) for s, kind in pairs)
    published = (91.68, 92.07, 94.02, 96.09, 95.81, 95.98)
    paper = {cell.name: value for cell, value in zip(cells, published, strict=True)}
    claims = tuple((f"{s}, argmax", f"{s}, full") for s in _SOURCES)
    return Table("the teacher's signal (4)", cells, paper, claims)


def _balance() -> Table:
    part = flags.FLAGS.part
    cells, published = [], iter((88.93, 90.34, 91.39, 92.32, 91.85, 93.12, 94.36, 95.07))
    paper, claims = {}, []
    for source, mix in itertools.product(_SOURCES, ("none", "mixup")):
        names = [f"{source}, {kind}, mix {mix}" for kind in ("long tail", "balanced")]
        for name, imbalance in zip(names, (100.0, 1.0), strict=True):
            changes = {"source": source, "mix": mix, "images": part, "pool": 10 * part}
            cells.append(Cell(name, changes | {"imbalance": imbalance}))
            paper[name] = next(published)
        claims.append(tuple(names))
    return Table("balanced or not (4; its 20,000 images)", tuple(cells), paper, tuple(claims))


def _levels() -> Table:
    levels = ("none", "standard", "high", "extreme")
    of_shaders = (31.84, 91.14, 93.37, 92.80, 92.20, 93.39, 94.02, 93.95)
    of_data = (87.33, 95.46, 95.86, 93.43, 95.00, 95.98, 95.69, 94.04)
    cells = tuple(
        Cell(f"{source}, {level}, mix {mix}", {"source": source, "augmentation": level, "mix": mix})
        for source, mix, level in itertools.product(_SOURCES, ("none", "mixup"), levels)
    )
    published = (*of_shaders, *of_data)
    paper = {cell.name: value for cell, value in zip(cells, published, strict=True)}
    claims = (
        ("shaders, none, mix none", "shaders, high, mix none"),
        ("data, none, mix none", "data, standard, mix none"),
        ("data, extreme, mix mixup", "data, standard, mix mixup"),
    )
    return Table("augmentation (5)", cells, paper, claims)


def _boundary() -> Table:
    attacked = flags.FLAGS.attacked
    paper = {"shaders": 94.02, "shaders, moved": 94.54, "data": 95.98, "data, moved": 95.94}
    cells, claims = [], []
    for source in ("noise", "leaves", *_SOURCES):
        changes = {"source": source, "images": attacked}
        cells += [Cell(source, changes), Cell(f"{source}, moved", changes | {"boundary": True})]
        claims.append((source, f"{source}, moved"))
    return Table(
        "at the boundaries (6)", tuple(cells), paper | {"data, moved": 95.94}, tuple(claims)
    )


def _tables() -> dict[str, Table]:
    return {
        "data": _data(),
        "signals": _signals(),
        "balance": _balance(),
        "levels": _levels(),
        "boundary": _boundary(),
    }


if __name__ == "__main__":
    run_tables(_tables, default="data")
