r"""Tables 2, 3 and 8 of Farhat & Chen 2023 (DAPT): few labels and a large teacher.

Claims: alignment and uniformity, CRD with a projector, and KL alone are better than SRRL, and this
better than labels alone (methods, Table 3); the former two are about the same; KL is the better
term of logits beside alignment and uniformity than SRRL's, a linear projector as good as MoCo's
(terms, Table 8); more images beside the labelled ones close the gap of few (more, Table 2).

Command:  kipax teacher --dataset=npz:mnist.npz --linear_probe=runs/teacher --workdir=runs/probed
          python -m experiments.paper.dapt --teacher=runs/probed --dataset=npz:mnist.npz \
              --part=1000 --epochs=40 --seeds=3
Expected: docs/dapt.md. The presets are the paper's; --part, --epochs and --student make them small
          enough for two cores (a ResNet-50 for 250 epochs of CIFAR-100 is a GPU's). The table more
          adds drawn images; the paper's were made by Stable Diffusion: --extra=folder:PATH.
"""

from typing import Any

from absl import flags

from experiments.paper.kd_table import Table, run_tables
from kipax.kd import Cell

flags.DEFINE_integer("part", 1000, "labelled images of the task, equally many of each class")
flags.DEFINE_string("extra", "shaders", "source of further images of the table more")


def _cell(name: str, preset: str, **changes: Any) -> Cell:
    return Cell(name, {"source": f"data:{flags.FLAGS.part}", "preset": preset} | changes)


def _methods() -> Table:
    cells = (
        _cell("labels alone", "scratch"),
        _cell("SRRL", "srrl"),
        _cell("KL", "hinton"),
        _cell("CRD", "crd"),
        _cell("alignment and uniformity", "dapt"),
    )
    published = (72.39, 73.24, 75.97, 76.37, 75.8)  # CIFAR-100, MobileNetV2 from ResNet-50
    paper = {cell.name: value for cell, value in zip(cells, published, strict=True)}
    orders = (
        ("labels alone", "SRRL"),
        *(("SRRL", name) for name in ("KL", "CRD", "alignment and uniformity")),
    )
    equals = (("CRD", "alignment and uniformity"),)
    return Table("methods (3)", cells, paper, orders, equals)


def _terms() -> Table:
    cells = (
        _cell("with KL", "dapt"),
        _cell("with KL, linear projector", "dapt", projector="linear"),
        _cell("with SRRL", "dapt", loss="ce+align_uniform+srrl"),
    )
    paper = {"with KL": 75.8, "with KL, linear projector": 75.8, "with SRRL": 73.29}
    orders, equals = (("with SRRL", "with KL"),), (("with KL", "with KL, linear projector"),)
    return Table("terms of logits, projectors (8)", cells, paper, orders, equals)


def _more() -> Table:
    part, extra = flags.FLAGS.part, flags.FLAGS.extra
    sources = {
        "no further images": f"data:{part}",
        "as many": f"concat:data:{part},{extra}",
        "twice as many": f"concat:data:{part},{extra},{extra}",
    }
    paper = {"no further images": 67.09, "as many": 71.57, "twice as many": 72.54}  # MIT-67
    if extra.partition(":")[0] in ("folder", "support", "dataset"):
        sources = {
            "no further images": f"data:{part}",
            "all of them": f"join:data:{part},{extra}",
        }
        paper = {}  # as many as there are
    cells = tuple(_cell(name, "dapt", source=source) for name, source in sources.items())
    return Table("further images (2)", cells, paper, orders=(tuple(sources),))


if __name__ == "__main__":
    run_tables({"methods": _methods, "terms": _terms, "more": _more})
