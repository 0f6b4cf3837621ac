"""A picture of every augmentation that a target image may get.

Claim: each operation does what its name says, to the degree that the AutoAugment policy uses.
Command: python -m experiments.augmentations --dataset=npz:cifar10.npz
Expected: a row an operation; the first column is the image itself. experiments/results has the
          one of CIFAR-10. Time: seconds. Needs the extra ``plots``.
"""

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from kipax import files, load_dataset, plots
from kipax.augment import augment, flip, policies
from kipax.console import run_command
from kipax.errors import UsageError

flags.DEFINE_string("dataset", "cifar10", "an RGB data set, as for kipax kip")
flags.DEFINE_string("data_dir", None, "where prepared TensorFlow Datasets lie")
flags.DEFINE_string("out", "runs/augmentations.png", "the picture to write")
_COLUMNS = 8


def _rows(images: np.ndarray) -> dict[str, np.ndarray]:
    """Applies each operation to all images, at the strongest level that the policy uses."""
    levels: dict[str, int] = {}
    for name, _, level in (slot for sub in policies.POLICY for slot in sub):
        levels[name] = max(level, levels.get(name, 0))
    x = jnp.asarray(images, jnp.float32)
    rows: dict[str, jax.Array] = {"image": x}
    for name, level in sorted(levels.items()):
        amount = policies.magnitude(name, level)
        number = policies.NAMES.index(name)
        batched = jax.vmap(policies.apply_operation, (None, 0, None, None))
        label = f"{name} {amount:g}" if amount else name
        rows[label] = batched(jnp.asarray(number), x, jnp.asarray(amount), jnp.asarray(1.0))
    rows["flip"] = jax.vmap(flip)(x)
    indices = np.arange(len(x))
    for step in range(3):
        augmented = augment(images, indices, seed=0, step=step, fraction=1.0)
        rows[f"policy, step {step}"] = jnp.asarray(augmented)
    keys = jax.random.split(jax.random.key(0), len(x))
    rows["rotation and shift"] = jax.vmap(policies.jitter)(keys, x)
    return {name: np.asarray(row).astype(np.uint8) for name, row in rows.items()}


def main(reporter) -> dict:
    """Draws the picture."""
    chosen = flags.FLAGS
    data = load_dataset(chosen.dataset, data_dir=chosen.data_dir)
    if data.image_shape[2] != 3 or data.x_train.max() <= 16:
        raise UsageError(f"AutoAugment is for colour images of 0 to 255; got {data!r}.")
    rows = _rows(data.x_train[:_COLUMNS])
    images = np.concatenate(list(rows.values()))
    classes = np.repeat(np.arange(len(rows)), _COLUMNS)
    figure = plots.draw_images({"": images}, classes, list(rows))
    files.expand(chosen.out).parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(chosen.out, plots.to_png(figure))
    reporter.say(f"{len(rows) - 1} rows of augmented images in {chosen.out}")
    return {"out": chosen.out}


if __name__ == "__main__":
    run_command(main)
