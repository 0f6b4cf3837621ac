r"""Tables 1-4, 9 and 11 of Asano & Saeed 2023 (arXiv:2112.00725): a network from one photo.

Claims: noise teaches less than a sparse photo, and this less than a dense one (images, Table 3a);
full answers teach more than the five likeliest classes, and these more than the class alone
(signals, 3b); CutMix more than MixUp, more than none (views, 3c); the loss hardly matters
(losses, 9); the more noise in a blend, the worse (blends, 11); bigger students are better
(students, 4); one photo is close to all real images, and to other sources (sources, 1 and 2).

Command:  kipax teacher --dataset=npz:fashion_mnist.npz --network=wrn16-1 --workdir=runs/teacher
          python -m experiments.paper.single_image --teacher=runs/teacher \
              --dataset=npz:fashion_mnist.npz --student=wrn10-1 --table=images --seeds=3 \
              --photos=hubble.jpg,houses.png
Expected: docs/distil_results.md. The settings are our preset small; the paper's own
          (--preset=single_image, wrn40-4 on CIFAR-10) are a GPU's.
"""

from pathlib import Path

from absl import flags

from experiments.paper.kd_table import Table, run_tables
from kipax.kd import Cell

flags.DEFINE_list("photos", [], "further photos, with commas between")
_CROPS = {"augmentation": "crop", "source": "photo"}


def _of_sources(*sources: str) -> tuple[Cell, ...]:
    return tuple(Cell(source, {"source": source}) for source in sources)


def _images() -> Table:
    photos = tuple(
        Cell(Path(file).stem, {"source": f"photo:{file}"}) for file in flags.FLAGS.photos
    )
    names = ["noise:uniform", *(cell.name for cell in photos), "photo"]
    return Table(
        "the image (3a)",
        (*_of_sources("noise:uniform"), *photos, *_of_sources("photo")),
        paper={"noise:uniform": 69.3, "hubble_deep_field": 88.18},
        claims=(tuple(names),),
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
    paper = dict(
        zip((cell.name for cell in cells), (89.34, 91.03, 92.86, 92.41, 93.32), strict=True)
    )
    claims = (
        ("none, crop", "mixup, crop", "cutmix, crop"),
        ("mixup, none", "mixup, crop"),
        ("cutmix, none", "cutmix, crop"),
    )
    return Table("augmentation (3c)", cells, paper, claims)


def _losses() -> Table:
    cells = tuple(Cell(loss, _CROPS | {"loss": loss}) for loss in ("l1", "l2", "kl"))
    return Table("the loss (9)", cells, {"l1": 93.3, "l2": 93.4, "kl": 93.4}, (("l1", "l2", "kl"),))


def _blends() -> Table:
    sources = ("noise", "blend:0.8:noise,photo", "blend:0.5:noise,photo", "photo")
    return Table("noise in the patches (11)", _of_sources(*sources), claims=(sources,))


def _students() -> Table:
    names = ("wrn10-1", "wrn10-2", "wrn16-2")
    cells = tuple(
        Cell(f"{name} from {source}", {"student": name, "source": source})
        for source in ("photo", "data")
        for name in names
    )
    claims = tuple(tuple(f"{name} from {source}" for name in names) for source in ("photo", "data"))
    return Table("the student (4)", cells, claims=claims)


def _sources() -> Table:
    paper = {"fractals": 33.26, "photo": 89.27, "data": 92.61}
    cells = _of_sources("fractals", "shaders", "photo", "data:10000", "data")
    return Table("other images (1 and 2)", cells, paper, (("fractals", "photo", "data"),))


def _tables() -> dict[str, Table]:
    return {
        "images": _images(),
        "signals": _signals(),
        "views": _views(),
        "losses": _losses(),
        "blends": _blends(),
        "students": _students(),
        "sources": _sources(),
    }


if __name__ == "__main__":
    run_tables(_tables, default="images")
