"""Values of Nguyen et al. 2021, arXiv:2107.13034, to compare with ours; in percent, as printed.

Kernel ridge regression: table 1 (KIP: the better of with and without augmentation, learned
labels) and A1 (random images); networks of width 1024: table 2. Whitened where the images have
colour; CIFAR-10 also without (SVHN and CIFAR-100 without are in the paper, not here).
"""

from __future__ import annotations

from kipax.support import SupportSet

__all__ = ["is_like_paper", "paper_value"]

_SETS = ("mnist", "fashion_mnist", "svhn_cropped", "cifar10", "cifar100")
_SIZES = (1, 10, 50)

# By subject: one line per data set, with the values for ipc 1, 10 and 50 (images per class).
_Table = dict[str, tuple[tuple[str, ...], ...]]
_KRR: _Table = {
    "KIP": (
        ("97.3±0.1", "99.1±0.1", "99.5±0.1"),
        ("82.9±0.2", "91.0±0.1", "92.4±0.1"),
        ("64.3±0.4", "81.1±0.5", "84.3±0.1"),
        ("64.7±0.2", "75.6±0.2", "80.6±0.1"),
        ("34.9±0.1", "49.5±0.3"),
    ),
    "Label Solve": (
        ("73.4", "96.4", "98.3"),
        ("65.3", "80.8", "86.9"),
        ("23.9", "52.8", "76.8"),
        ("26.1", "53.6", "65.9"),
        ("23.8", "39.2"),
    ),
    "random real": (
        ("52.0±5.1",),
        ("47.0±5.7",),
        ("13.1±1.7",),
        ("16.1±2.1",),
        ("5.7±0.5",),
    ),
}
_NETWORKS: _Table = {
    "KIP": (
        ("90.1±0.1", "97.5±0.0", "98.3±0.1"),
        ("73.5±0.5", "86.8±0.1", "88.0±0.1"),
        ("57.3±0.1", "75.0±0.1", "80.5±0.1"),
        ("49.9±0.2", "62.7±0.3", "68.6±0.2"),
        ("15.7±0.2", "28.3±0.1"),
    ),
    "Label Solve": (
        ("71.0±0.2", "95.2±0.1", "97.9±0.0"),
        ("61.2±0.1", "79.7±0.1", "85.0±0.1"),
        ("23.8±0.2", "53.2±0.3", "76.5±0.3"),
        ("24.7±0.1", "49.3±0.1", "62.0±0.2"),
        ("11.8±0.2", "25.0±0.1"),
    ),
}
# Without whitening, CIFAR-10 alone (tables A1, A5, A6; the better of both columns).
_STANDARD = {
    ("krr", "KIP", "cifar10"): ("56.4±0.4", "69.6±0.2", "74.8±0.3"),
    ("krr", "Label Solve", "cifar10"): ("26.3", "46.3", "57.4"),
    ("krr", "random real", "cifar10"): ("16.3±2.1",),
    ("kip-nn", "KIP", "cifar10"): ("38.6±0.4", "49.2±0.1", "56.7±0.3"),
    ("kip-nn", "Label Solve", "cifar10"): ("22.9±0.3", "41.5±0.2", "49.0±0.2"),
}


def is_like_paper(support: SupportSet, protocol: str) -> bool:
    """Returns whether a set was made with the ConvNet NTK and, for krr, learned labels."""
    own = support.architecture.name == "convnet" and support.kernel == "ntk"
    return own and (protocol != "krr" or bool(support.metadata["learned_labels"]))


def paper_value(
    protocol: str, subject: str, *, dataset: str, images_per_class: float, whitened: bool
) -> str | None:
    """Returns what the paper prints for ConvNet NTK and learned labels; None if not here.

    Example:
        >>> paper_value(
        ...     "kip-nn", "KIP", dataset="cifar10", images_per_class=1, whitened=True
        ... )
        '49.9±0.2'
    """
    tables: _Table = {"krr": _KRR, "kip-nn": _NETWORKS}.get(protocol, {})
    if subject not in tables or dataset not in _SETS or images_per_class not in _SIZES:
        return None
    row: tuple[str, ...] = tables[subject][_SETS.index(dataset)]
    colour = dataset not in _SETS[:2]
    if colour != whitened:
        row = () if whitened else _STANDARD.get((protocol, subject, dataset), ())
    place = _SIZES.index(int(images_per_class))
    return row[place] if place < len(row) else None
