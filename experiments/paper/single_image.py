r"""Tables 1-4, 9 and 11 of Asano & Saeed 2023 (arXiv:2112.00725): a network from one photo.

Claims: patches of noise teach less than those of a sparse photo, and these less than those of a
dense one (images, Table 3a); full answers teach more than the likeliest classes, and these more
than the class alone (signals, 3b); CutMix more than MixUp, more than neither (views, 3c); the loss
hardly matters (losses, 9); the more noise in a blend, the worse (blends, 11); bigger students are
better (students, 4); one photo teaches more than fractals, and real images more (sources, 2).

Command:  kipax teacher --dataset=npz:fashion_mnist.npz --network=wrn16-1 --workdir=runs/teacher
          python -m experiments.paper.single_image --teacher=runs/teacher \
              --dataset=npz:fashion_mnist.npz --student=wrn10-1 --table=images --seeds=3 \
              --photos=hubble.jpg,houses.png
Expected: docs/distil_results.md. The settings are our preset small; the paper's own
          (--preset=single_image, wrn40-4 on CIFAR-10) are a GPU's. --photos go from the sparsest to
          the densest; the photo of kipax is the densest.
"""

from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from experiments.paper.kd_table import Table, run_tables
from kipax import files
from kipax.kd import Cell

flags.DEFINE_list("photos", [], "further photos, with commas between")
_CROPS = {"augmentation": "crop", "source": "photo"}


def _of_sources(*sources: str) -> tuple[Cell, ...]:
    return tuple(Cell(source, {"source": source}) for source in sources)


def _noise_picture() -> str:
    """Writes a picture of uniform noise, as the paper's, into the workdir; returns its path."""
    file = files.expand(flags.FLAGS.workdir) / "noise.png"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(file)
    return str(file)


def _images() -> Table:
    named = {"noise": f"photo:{_noise_picture()}"}
    named |= {Path(file).stem: f"photo:{file}" for file in flags.FLAGS.photos}
    named |= {"the photo of kipax": "photo"}
    return Table(
        "patches of an image (3a)",
        tuple(Cell(name, {"source": source}) for name, source in named.items()),
        paper={"noise": 69.3},
        orders=(tuple(named),),
    )


def _signals() -> Table:
    cells = (
        Cell("argmax", {"source": "photo", "signal": "argmax"}),
        Cell("top 3", {"source": "photo", "signal": "top_k", "top_k": 3}),
        Cell("full", {"source": "photo"}),
    )
    paper = {"argmax": 91.89, "top 3": 92.98, "full": 93.32}
    return Table(
        "the teacher's signal (3b; its top 5)", cells, paper, (("argmax", "top 3", "full"),)
    )


def _views() -> Table:
    cells = tuple(
        Cell(f"{mix}, {level}", {"source": "photo", "mix": mix, "augmentation": level})
        for level, mix in (
            ("crop", "none"),
            ("none", "mixup"),
            ("none", "cutmix"),
            ("crop", "mixup"),
            ("crop", "cutmix"),
        )
    )
    # In the paper all five are mirrored; here mirroring is a part of crop.
    paper = {"none, crop": 89.34, "mixup, crop": 92.41, "cutmix, crop": 93.32}
    orders = (
        ("none, crop", "mixup, crop", "cutmix, crop"),
        ("mixup, none", "mixup, crop"),
        ("cutmix, none", "cutmix, crop"),
    )
    return Table("augmentation (3c)", cells, paper, orders)


def _losses() -> Table:
    cells = tuple(Cell(loss, _CROPS | {"loss": loss}) for loss in ("l1", "l2", "kl"))
    paper = {"l1": 93.3, "l2": 93.4, "kl": 93.4}
    return Table("the loss (9)", cells, paper, equals=(("l1", "kl"), ("l2", "kl")))


def _blends() -> Table:
    sources = ("noise", "blend:0.8:noise,photo", "blend:0.5:noise,photo", "photo")
    return Table("noise in the patches (11)", _of_sources(*sources), orders=(sources,))


def _students() -> Table:
    names = ("wrn10-1", "wrn10-2", "wrn16-2")
    cells = tuple(
        Cell(f"{name} from {source}", {"student": name, "source": source})
        for source in ("photo", "data")
        for name in names
    )
    orders = tuple(tuple(f"{name} from {source}" for name in names) for source in ("photo", "data"))
    return Table("the student (4)", cells, orders=orders)


def _sources() -> Table:
    paper = {"fractals": 33.26, "photo": 89.27, "data": 92.61}
    cells = _of_sources("fractals", "shaders", "photo", "data:10000", "data")
    return Table("other images (2)", cells, paper, (("fractals", "photo", "data"),))


if __name__ == "__main__":
    tables = {
        "images": _images,
        "signals": _signals,
        "views": _views,
        "losses": _losses,
        "blends": _blends,
        "students": _students,
        "sources": _sources,
    }
    run_tables(tables)
