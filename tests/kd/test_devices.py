"""Queues and memories where a batch is divided among devices: one queue, as on one device."""

import os
import subprocess
import sys

import numpy as np
import pytest

_RUN = """
import jax, jax.numpy as jnp, numpy as np, optax
from kipax.kd.anchors import Anchors
from kipax.kd.contrast import CRD, QueuedCRD
from kipax.students import Outputs, StudentSpec
from kipax.training import Batch, Descent, Hook, Setting, fit

assert len(jax.devices()) == {count}
rng = np.random.default_rng(0)
x = rng.normal(size=(32, 4, 4, 1)).astype(np.float32)
of_teacher = jnp.asarray(rng.normal(size=(32, 6)).astype(np.float32))

def batches(step):
    index = (np.arange(8) + 8 * step) % 32
    return Batch(x[index], index=index)

class Last(Hook):
    def after(self, step, state, metrics):
        if {count} > 1:
            assert len(state.objective_state["0"]["teacher"].sharding.device_set) == {count}
    def end(self, step, state):
        self.state = state

last = Last()
fit(
    StudentSpec(name="fc2", width=8).build(3, (4, 4, 1)),
    batches,
    objective=Anchors("2q", tau=0.2, queue=20, momentum=0.9)
    + CRD(4, 0.5, images=32, negatives=5)
    + QueuedCRD(4, 0.5, queue=20),
    descent=Descent(optax.identity(), optax.constant_schedule(1.0), 6),
    settings=[Setting(0.01, 0.0, 0)],
    teacher=lambda b: Outputs(jnp.zeros((8, 3)), of_teacher[b.index], {{}}),
    hooks=[last],
)
state = last.state
leaves = {{jax.tree_util.keystr(p): np.asarray(a) for p, a in jax.tree_util.tree_leaves_with_path(
    (state.params, state.averaged, state.aux, state.objective_state))}}
np.savez({out!r}, **leaves)
"""


@pytest.mark.slow
def test_a_queue_on_four_devices_is_one_queue(tmp_path):
    found = []
    for count in (1, 4):
        out = str(tmp_path / f"{count}.npz")
        flags = os.environ.get("XLA_FLAGS", "")
        flags += f" --xla_force_host_platform_device_count={count}"
        subprocess.run(
            [sys.executable, "-c", _RUN.format(count=count, out=out)],
            env=os.environ | {"XLA_FLAGS": flags},
            check=True,
        )
        with np.load(out) as content:
            found.append(dict(content))
    assert set(found[0]) == set(found[1])
    queues = 0
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, rtol=1e-3, atol=1e-5, err_msg=name)
        if value.ndim == 2 and len(value) == 20:  # six batches of eight have replaced every row
            np.testing.assert_allclose(np.linalg.norm(value, axis=1), 1, rtol=1e-4, err_msg=name)
            queues += 1
    assert queues == 4
