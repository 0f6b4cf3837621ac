r"""Ten distilled images as a teacher: what their kernel teaches a network, on which images.

Claim (no paper has it): a network that the kernel of ten distilled images teaches comes close to
the kernel itself, on unlabelled real images and on patches of one photo, where training on the ten
images loses two fifths to a half.

Command:  python -m experiments.paper.bridge --teacher=fashion_mnist-convnet-10 \
              --dataset=npz:fashion_mnist.npz --student=convnet3 --width=48 --table=sources \
              --seeds=3
          python -m experiments.evaluate fashion_mnist-convnet-10 --protocol=kip-nn --baselines
Expected: docs/bridge.md; four minutes a distillation of convnet3 at width 48 on 2 CPU cores. The
          second command trains on the ten images themselves as the paper does. --picture=FILE
          draws the table of the images.
"""

from collections.abc import Mapping

import numpy as np
from absl import flags

from experiments.paper.kd_table import Table, run_tables
from kipax import files, load, plots
from kipax.data.known import short_name
from kipax.kd import Cell, CellResult, Domain, KDConfig, SourceReader
from kipax.kd.stored import whole_levels

flags.DEFINE_list("others", [], "other data sets, as for --dataset, with commas between")
flags.DEFINE_string("picture", None, "draw the table sources to this file")
_WIDTHS = (16, 32, 64, 128)


def _sources() -> Table:
    named = [("the ten images", f"support:{flags.FLAGS.teacher}")]
    named += [(name, name) for name in ("noise", "shaders", "photo", "matched:photo")]
    named += [(short_name(name), f"dataset:{name}") for name in flags.FLAGS.others]
    named += [("data", "data")]
    cells = tuple(Cell(name, {"source": source}) for name, source in named)
    return Table("the images", cells, orders=(("the ten images", "photo", "data"),))


def _widths() -> Table:
    sources = ("photo", "data")
    cells = tuple(
        Cell(f"{source}, width {w}", {"source": source, "width": w})
        for source in sources
        for w in _WIDTHS
    )
    orders = tuple(tuple(f"{source}, width {w}" for w in _WIDTHS) for source in sources)
    return Table("the width", cells, orders=orders)


def _networks() -> Table:
    cells = tuple(
        Cell(f"{source}, {name}", {"source": source, "student": name, "width": width})
        for source in ("photo", "data")
        for name, width in (("convnet3", 48), ("resnet20", None), ("wrn10-1", None))
    )
    return Table("the network", cells)


def _draw(config: KDConfig, results: Mapping[str, list[CellResult]]) -> None:
    """Draws the ten images, patches of the photo, and the accuracies in the table `sources`."""
    if flags.FLAGS.picture is None or "sources" not in results:
        return
    teacher = load(config.teacher, data_dir=config.data_dir)
    space = Domain.of(teacher, teacher.images.shape[1:]).space
    photo = SourceReader(space).read("photo").images(np.arange(10), seed=0)
    order = np.argsort(np.argmax(teacher.labels, axis=1), kind="stable")[:10]
    sheets = {
        "the teacher: ten images": teacher.to_uint8_images()[order],
        "what the student saw": whole_levels(photo, space),
    }
    named = {
        "data": "a network, on 20,000 unlabelled images",
        "shaders": "a network, on pictures of formulae",
        "photo": "a network, on patches of one photo",
        "the ten images": "a network, on the ten images",
    }
    bars: dict[str, tuple[float, float | None]] = {
        "the ten images' kernel": (teacher.metadata["test_accuracy"], None)
    }
    found = {result.name: result for result in results["sources"]}
    bars |= {words: (found[k].accuracy, found[k].deviation) for k, words in named.items()}
    figure = plots.draw_sheets_and_bars(sheets, bars, "test accuracy")
    files.write_bytes(flags.FLAGS.picture, plots.to_png(figure))


if __name__ == "__main__":
    tables = {"sources": _sources, "widths": _widths, "networks": _networks}
    run_tables(tables, draw=_draw)
