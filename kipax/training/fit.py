"""The loop that trains every network.

A loop in Python around a jitted step, not `lax.scan`: on CPUs convolutions inside a scan are
many times slower.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from kipax.errors import UsageError
from kipax.students import Outputs, init_variables
from kipax.training.batches import Batch, Batches
from kipax.training.objectives import Objective
from kipax.training.recipes import Descent, Setting
from kipax.training.sharing import divided, mesh_for, on_all
from kipax.training.state import TrainState

__all__ = ["Hook", "Teacher", "fit", "init_state"]

Teacher = Callable[[Batch], Outputs]
"""Gives a batch's outputs: from its `x` (or `x_teacher`), or from its `index`."""


class Hook:
    """The base of hooks, which follow a training; it does nothing itself.

    Example:
        >>> class Losses(Hook):
        ...     def __init__(self):
        ...         self.seen = []
        ...
        ...     def after(self, step, state, metrics):
        ...         self.seen.append(float(metrics["loss"]))
    """

    def begin(self, state: TrainState) -> TrainState:
        """Is called with the first state and returns the state to begin with."""
        return state

    def after(self, step: int, state: TrainState, metrics: dict[str, jax.Array]) -> bool | None:
        """Is called after each update with the number of updates; True ends the training.

        `metrics` lies on the device: reading a number from it waits for the step.
        """
        return None

    def end(self, step: int, state: TrainState) -> None:
        """Is called once at the end, also at an early end."""


class _Task(NamedTuple):
    """The parts of a training that are compiled into a step."""

    network: nn.Module
    objective: Objective
    direction: optax.GradientTransformation


class _Rates(NamedTuple):
    """The numbers that differ between settings and steps."""

    learning_rate: Any
    l2: Any


@functools.partial(jax.jit, static_argnums=0)
def _update(
    task: _Task,
    state: TrainState,
    batch: Batch,
    teacher: Outputs | None,
    key: jax.Array,
    rates: _Rates,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Makes one update of one setting."""
    network, objective, direction = task

    def apply(params: Any, x: Any) -> tuple[Outputs, dict[str, Any]]:
        out, moved = network.apply(
            {"params": params, **state.batch_stats},
            x,
            train=True,
            mutable=list(state.batch_stats),
            rngs={"dropout": jax.random.fold_in(key, state.step)},
        )
        return out, dict(moved)

    averaged = None
    if objective.averaging is not None:
        x = batch.x if batch.x_averaged is None else batch.x_averaged
        averaged = jax.lax.stop_gradient(apply(state.averaged, x)[0])

    def loss_fn(trained: dict[str, Any]) -> tuple[jax.Array, Any]:
        student, moved = apply(trained["params"], batch.x)
        loss, metrics, objective_state = objective(
            trained["aux"], state.objective_state, student, teacher, batch, averaged
        )
        penalty = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(trained))
        return loss + 0.5 * rates.l2 * penalty, (moved, metrics, objective_state)

    trained = {"params": state.params, "aux": state.aux}
    (loss, carried), gradient = jax.value_and_grad(loss_fn, has_aux=True)(trained)
    moved, metrics, objective_state = carried
    update, opt_state = direction.update(gradient, state.opt_state, trained)
    trained = jax.tree.map(lambda p, u: p - rates.learning_rate * u, trained, update)
    copy = state.averaged
    if objective.averaging is not None:
        copy = optax.incremental_update(trained["params"], copy, 1 - objective.averaging)
    params, aux = trained["params"], trained["aux"]
    after = TrainState(state.step + 1, params, moved, copy, aux, objective_state, opt_state)
    return after, {"loss": loss, **metrics}


@functools.partial(jax.jit, static_argnums=0)
def _updates(task: _Task, state: TrainState, batch, teacher, key, rates: _Rates):
    """Makes one update of several stacked settings."""
    return jax.vmap(lambda s, r: _update(task, s, batch, teacher, key, r))(state, rates)


def init_state(
    network: nn.Module,
    batch: Batch,
    teacher: Outputs | None,
    *,
    objective: Objective,
    descent: Descent,
    settings: Sequence[Setting],
) -> TrainState:
    """Returns the state before the first step: drawn parameters and empty optimiser moments.

    Args:
        network: a student.
        batch: the batch of the first step.
        teacher: the teacher's outputs for that batch; None without a teacher.
        objective: see `fit`.
        descent: see `fit`.
        settings: see `fit`.
    """
    seed = settings[0].seed
    variables = init_variables(network, jax.random.key(seed), np.shape(batch.x)[1:])
    params = variables.pop("params")

    def shapes(tree: Any) -> Any:
        return jax.eval_shape(lambda: tree)

    student = jax.eval_shape(lambda x: network.apply({"params": params, **variables}, x), batch.x)
    key = jax.random.fold_in(jax.random.key(seed), 2)
    aux, state = objective.init(key, student, None if teacher is None else shapes(teacher))
    opt_state = descent.direction.init({"params": params, "aux": aux})
    copy = params if objective.averaging is not None else {}
    first = TrainState(jnp.int32(0), params, variables, copy, aux, state, opt_state)
    if len(settings) == 1:
        return first
    stack = len(settings)
    return jax.tree.map(lambda a: jnp.broadcast_to(a, (stack, *jnp.shape(a))), first)


def fit(
    network: nn.Module,
    batches: Batches,
    *,
    objective: Objective,
    descent: Descent,
    settings: Sequence[Setting],
    teacher: Teacher | None = None,
    hooks: Sequence[Hook] = (),
) -> TrainState:
    """Trains a network with one setting, or with several stacked settings at once.

    Batches are divided evenly among devices. A step costs one forward and one backward pass.

    Args:
        network: a student of `kipax.students`, or a Flax module of the same interface.
        batches: see `kipax.training.batches`.
        objective: what to minimise.
        descent: optimiser, schedule and number of steps.
        settings: learning rates and L2, of one seed; memory grows with their number.
        teacher: returns its outputs for a batch, outside the compiled step; None without one.
        hooks: hooks that follow the training, called in their order.

    Returns:
        The last state, stacked if there are several settings.

    Raises:
        UsageError: there are no settings, or they have several seeds.
    """
    _check_settings(settings)
    batch = batches(0)
    outputs = teacher(batch) if teacher else None
    common: dict[str, Any] = {"objective": objective, "descent": descent, "settings": settings}
    mesh, state = mesh_for(batch), init_state(network, batch, outputs, **common)
    for hook in hooks:
        state = hook.begin(state)
    state, step = on_all(mesh, state), int(np.max(state.step))
    advance = _make_step(_Task(network, objective, descent.direction), descent, settings)
    while step < descent.steps:
        if step:  # the teacher has answered the first batch already
            batch = batches(step)
            outputs = teacher(batch) if teacher else None
        batch, outputs = divided(mesh, batch), divided(mesh, outputs)
        state, metrics = advance(step, state, batch, outputs)
        step += 1
        if any([hook.after(step, state, metrics) for hook in hooks]):  # each is told
            break
    for hook in hooks:
        hook.end(step, state)
    return state


def _make_step(task: _Task, descent: Descent, settings: Sequence[Setting]) -> Callable[..., Any]:
    """Returns a function (step, state, batch, teacher's outputs) -> (next state, metrics)."""
    factors = np.asarray(jax.vmap(descent.schedule)(jnp.arange(descent.steps)))
    rates = np.array([s.learning_rate for s in settings], np.float64)
    l2 = np.array([s.l2 for s in settings], np.float32)
    key = jax.random.fold_in(jax.random.key(settings[0].seed), 3)

    def advance(step: int, state: TrainState, batch: Batch, outputs: Outputs | None):
        rate = _Rates(np.float32(rates * factors[step]), l2)
        if len(settings) > 1:
            return _updates(task, state, batch, outputs, key, rate)
        return _update(task, state, batch, outputs, key, _Rates(*(r[0] for r in rate)))

    return advance


def _check_settings(settings: Sequence[Setting]) -> None:
    if not settings or any(setting.seed != settings[0].seed for setting in settings):
        raise UsageError(
            f"settings trained together are one or more that share a seed; got {list(settings)}."
        )
