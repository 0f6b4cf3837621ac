r"""Ten distilled images as a teacher: what a network learns from their kernel, and from where.

Claim (no paper has it): a network that the kernel of ten distilled images teaches comes close to
the kernel itself, on unlabelled real images and on patches of one photo, where training on the ten
images loses a third.

Command:  python -m experiments.paper.bridge --teacher=fashion_mnist-convnet-10 \
              --dataset=npz:fashion_mnist.npz --student=convnet3 --table=sources --seeds=3
          python -m experiments.evaluate fashion_mnist-convnet-10 --protocol=kip-nn --baselines
Expected: docs/distil_results.md; the second command trains on the ten images themselves. About
          ten minutes a distillation of convnet3 at width 48 on 2 CPU cores.
"""

from absl import flags

from experiments.paper.kd_table import Table, run_tables
from kipax.data.known import short_name
from kipax.kd import Cell

flags.DEFINE_list("others", [], "other data sets, as for --dataset, with commas between")
_WIDTHS = (16, 32, 64, 128)


def _sources() -> Table:
    named = {name: name for name in ("noise", "shaders", "photo")}
    named |= {short_name(name): f"dataset:{name}" for name in flags.FLAGS.others}
    named |= {"data": "data"}
    cells = tuple(Cell(name, {"source": source, "width": 48}) for name, source in named.items())
    return Table("the images", cells, claims=(("noise", "photo", "data"),))


def _widths() -> Table:
    cells = tuple(
        Cell(f"{source}, width {w}", {"source": source, "width": w})
        for source in ("photo", "data")
        for w in _WIDTHS
    )
    claims = tuple(tuple(f"{source}, width {w}" for w in _WIDTHS) for source in ("photo", "data"))
    return Table("the width", cells, claims=claims)


def _networks() -> Table:
    cells = tuple(
        Cell(f"{source}, {name}", {"source": source, "student": name, "width": width})
        for source in ("photo", "data")
        for name, width in (("convnet3", 48), ("resnet20", None), ("wrn10-1", None))
    )
    return Table("the network", cells)


def _tables() -> dict[str, Table]:
    return {"sources": _sources(), "widths": _widths(), "networks": _networks()}


if __name__ == "__main__":
    run_tables(_tables, default="sources")
