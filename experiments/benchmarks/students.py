"""One training step of a student against the same network in plain Flax and optax.

Claim: a step of kipax, with its traced learning rate and L2, is no slower.

Command:  python -m experiments.benchmarks.students --width=64
Expected: see experiments/benchmarks/README.md; half a minute. Whole loops are timed, the Python
          around the step included, in turns, and the medians compared. --torch times the same
          network in PyTorch, where it is installed, as it comes: eager, on its GPU if there is one.
"""

import functools
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from experiments.benchmarks import timing
from kipax.console import ConsoleReporter, run_command
from kipax.students import StudentSpec
from kipax.transfer import Recipe, Setting, train_student

flags.DEFINE_integer("width", 64, "channels")
flags.DEFINE_integer("images", 10, "images a step")
flags.DEFINE_integer("side", 32, "pixels")
flags.DEFINE_integer("steps", 20, "steps timed at once")
flags.DEFINE_integer("repeats", 5, "times each is timed, in turns")
flags.DEFINE_boolean("torch", False, "time PyTorch as well, where it is installed")


class PlainConvNet(nn.Module):
    """The paper's ConvNet in plain Flax."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``(n, H, W, C)`` to ``(n, 10)``."""
        x = nn.relu(nn.Conv(self.width, (3, 3))(x))
        for _ in range(3):
            x = nn.relu(nn.Conv(self.width, (3, 3))(x))
            x = nn.avg_pool(x, (2, 2), (2, 2))
        return nn.Dense(10)(x.reshape(len(x), -1))


def _plain(x: jax.Array, y: jax.Array, width: int, steps: int) -> Callable[[], None]:
    network = PlainConvNet(width)
    optimizer = optax.sgd(optax.cosine_decay_schedule(1e-2, steps), momentum=0.9)
    params = network.init(jax.random.key(0), x)

    def loss(params):
        penalty = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
        out: Any = network.apply(params, x)
        return 0.5 * jnp.mean((out - y) ** 2) + 5e-4 * penalty

    @jax.jit
    def step(params, state):
        value, gradient = jax.value_and_grad(loss)(params)
        update, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, update), state, value

    def run() -> None:
        current, state = params, optimizer.init(params)
        for _ in range(steps):
            current, state, value = step(current, state)
        jax.block_until_ready((current, value))

    return run


def _torch(x: jax.Array, y: jax.Array, width: int, steps: int) -> Callable[[], None] | None:
    """Returns the same training in PyTorch; None if PyTorch is not installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch
    from torch.nn import functional

    device = "cuda" if torch.cuda.is_available() else "cpu"
    side, layers = x.shape[1], []
    for i in range(4):
        layers += [torch.nn.Conv2d(x.shape[3] if i == 0 else width, width, 3, padding=1)]
        layers += [torch.nn.ReLU()] + ([torch.nn.AvgPool2d(2)] if i else [])
    flat = width * (side // 8) ** 2
    network = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(flat, 10))
    network = network.to(device)
    images = torch.tensor(np.moveaxis(np.asarray(x), 3, 1), device=device)
    labels = torch.tensor(np.asarray(y), device=device)

    def run() -> None:
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-2, momentum=0.9, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = 0.5 * functional.mse_loss(network(images), labels)
            loss.backward()
            optimizer.step()
            schedule.step()
        loss.item()  # waits for the device

    return run


def _seconds_a_step(run: Callable[[], None], steps: int) -> float:
    began = time.perf_counter()
    run()
    return (time.perf_counter() - began) / steps


def main(reporter: ConsoleReporter) -> dict[str, Any]:
    """Times both in turns."""
    chosen = flags.FLAGS
    shape, steps = (chosen.side, chosen.side, 3), chosen.steps
    x = timing.images(chosen.images, shape, 0)
    y = jnp.asarray(np.eye(10)[np.arange(chosen.images) % 10] - 0.1, jnp.float32)
    network = StudentSpec(name="convnet", width=chosen.width).build(10, shape)
    recipe = Recipe(steps=steps, evaluations=1, batch_size=max(100, chosen.images))

    def ours() -> None:
        setting = Setting(1e-2, 1e-3, 0)
        trained = train_student(
            network, np.asarray(x), np.asarray(y), recipe=recipe, setting=setting
        )
        jax.block_until_ready(trained.last)

    runs = {"kipax": ours, "flax": _plain(x, y, chosen.width, steps)}
    other = _torch(x, y, chosen.width, steps) if chosen.torch else None
    if other is not None:
        runs["torch"] = other
    measures = {name: functools.partial(_seconds_a_step, run, steps) for name, run in runs.items()}
    found = timing.by_turns(measures, repeats=chosen.repeats + 1)
    # The first turn compiles.
    medians = {name: statistics.median(values[1:]) for name, values in found.items()}
    reporter.say(" · ".join(f"{n} {1e3 * s:.1f} ms a step" for n, s in medians.items()))
    return timing.machine() | {
        "width": chosen.width,
        "images": chosen.images,
        "ms_per_step": {name: round(1e3 * s, 2) for name, s in medians.items()},
        "ratio": round(medians["kipax"] / medians["flax"], 3),
    }


if __name__ == "__main__":
    run_command(main)
