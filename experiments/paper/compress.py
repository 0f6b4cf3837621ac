r"""Table 1 and Figure 3 of Koohpayegani et al. 2020 (CompRess, arXiv:2010.14713): no labels.

Claims: one queue is as good as two, both are better than clusters, these better than regression
(methods: nearest neighbours, Table 1); a linear classifier likes one queue at least as much as two
(linear), clusters like two at least as much (alignment); a low temperature is far better than 1, or
than none (temperatures, Figure 3; without softmax the paper leaves out the queue, too), a larger
queue better than a small one (queues), the averaged copy hardly matters (momenta), nor whether the
teacher is asked about each view or once (caching). CRD has a queue here in place of a memory.

Command:  kipax teacher --dataset=npz:fashion_mnist.npz --network=wrn16-1 --objective=simclr \
              --workdir=runs/simclr
          python -m experiments.paper.compress --teacher=runs/simclr \
              --dataset=npz:fashion_mnist.npz --epochs=2 --seeds=3
Expected: docs/compress.md. The presets are the paper's; --epochs, --images, --student and, for few
          steps, --anchor_rate make them small enough for two cores (a ResNet-18 on ImageNet for
          130 epochs is a GPU's).
"""

from typing import Any

from absl import flags

from experiments.paper.kd_table import Table, run_tables
from kipax.kd import Cell

flags.DEFINE_float(
    "anchor_rate", None, "learning rate of the cells that compare anchors (0.01, the paper's)"
)
_OF_DATA = {"source": "data"}
_TEMPERATURES, _MOMENTA = (0.02, 0.04, 0.1, 0.3, 1.0), (0.0, 0.5, 0.7, 0.999)


def _cell(name: str, preset: str, **changes: Any) -> Cell:
    return Cell(name, _OF_DATA | {"preset": preset} | changes)


def _anchors(name: str, preset: str = "compress", **changes: Any) -> Cell:
    rate = flags.FLAGS.anchor_rate
    return _cell(name, preset, **changes | ({} if rate is None else {"learning_rate": rate}))


def _queues_alone() -> tuple[Cell, Cell]:
    return _anchors("one queue", "compress_1q"), _anchors("two queues")


def _all_methods() -> tuple[Cell, ...]:
    crd = {"loss": "queued_crd", "learning_rate": 0.05, "projector": "linear"}
    return (
        *_queues_alone(),
        _cell("clusters", "clusters"),
        _cell("regression, standardised", "regression_bn"),
        _cell("CRD without labels", "compress", **crd),
        _cell("regression", "regression"),
    )


# ResNet-18 from a ResNet-50.
_NEAREST = (53.5, 53.4, 51.1, 47.3, 43.7, 41.7)


def _methods() -> Table:
    cells = _all_methods()
    names = [cell.name for cell in cells]
    paper = dict(zip(names, _NEAREST, strict=True))
    orders = (tuple(names[:1:-1]), ("clusters", "one queue"), ("clusters", "two queues"))
    equals = (("one queue", "two queues"),)
    return Table("nearest neighbours (1)", cells, paper, orders, equals, measure="knn")


def _linear() -> Table:
    paper = {"one queue": 62.6, "two queues": 61.7}
    orders = (("two queues", "one queue"),)
    return Table("a linear classifier (1)", _queues_alone(), paper, orders, measure="linear")


def _alignment() -> Table:
    paper, orders = {"one queue": 33.0, "two queues": 34.7}, (("one queue", "two queues"),)
    measure = "cluster_alignment"
    return Table("clusters and classes (1)", _queues_alone(), paper, orders, measure=measure)


def _temperatures() -> Table:
    cells = tuple(_anchors(f"{t:g}", anchor_temperature=t) for t in _TEMPERATURES)
    cells += (_anchors("no softmax", loss="similarities"),)
    orders = (("1", "0.04"), ("0.3", "0.04"), ("no softmax", "0.04"))
    return Table("the temperature (Figure 3)", cells, orders=orders, measure="knn")


def _queues() -> Table:
    sizes = (256, 1024, 4096, 16_384)
    cells = tuple(_anchors(f"{size:,}", queue=size) for size in sizes)
    orders = (("256", "16,384"),)
    return Table("the queues (Figure 3)", cells, orders=orders, measure="knn")


def _momenta() -> Table:
    cells = tuple(_anchors(f"{m:g}", averaging=m) for m in _MOMENTA)
    paper = {"0": 47.34, "0.5": 47.40, "0.7": 47.45, "0.999": 47.35}
    equals = (("0", "0.999"), ("0.5", "0.999"), ("0.7", "0.999"))
    return Table("momentum of the copy (section 4.3)", cells, paper, equals=equals, measure="knn")


def _caching() -> Table:
    cells = (_anchors("each view"), _anchors("once", cached=True))
    paper, equals = {"each view": 61.7, "once": 61.2}, (("each view", "once"),)
    return Table("the teacher is asked about", cells, paper, equals=equals, measure="linear")


if __name__ == "__main__":
    tables = {
        "methods": _methods,
        "linear": _linear,
        "alignment": _alignment,
        "temperatures": _temperatures,
        "queues": _queues,
        "momenta": _momenta,
        "caching": _caching,
    }
    run_tables(tables)
