"""Recipe of digits.npz: ``python -m kipax.data.make_digits`` (needs scikit-learn).

The 1,797 handwritten digits of the UCI "Optical Recognition of Handwritten Digits" set
(its test part; E. Alpaydin and C. Kaynak, 1998, CC BY 4.0), as scikit-learn ships them:
8 x 8 pixels, 17 grey levels 0 to 16. The split is by content, so that it does not depend on
any order: within each class, ranked by the sha256 of the pixels, the first 36 are the test
images, the others the training images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kipax import files
from kipax.data.content import balanced_order, image_hashes

TEST_IMAGES = 360


def main() -> None:
    """Writes digits.npz beside this file."""
    from sklearn.datasets import load_digits  # type: ignore[import-not-found]

    digits = load_digits()
    x = digits.images.astype(np.uint8)[..., None]
    y = digits.target.astype(np.uint8)
    order = balanced_order(image_hashes(x), y)
    test, train = np.sort(order[:TEST_IMAGES]), np.sort(order[TEST_IMAGES:])
    arrays = {"x_train": x[train], "y_train": y[train], "x_test": x[test], "y_test": y[test]}
    files.write_npz(Path(__file__).with_name("digits.npz"), arrays)


if __name__ == "__main__":
    main()
