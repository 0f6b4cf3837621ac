"""Queues and memories where a batch is divided among devices: one queue, as on one device."""

import numpy as np
import pytest

from tests.devices import arrays_on_one_and_four_devices, assert_same_arrays

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
    one, four = arrays_on_one_and_four_devices(_RUN, tmp_path)
    assert_same_arrays(one, four, atol=1e-5)
    queues = [value for value in four.values() if value.ndim == 2 and len(value) == 20]
    assert len(queues) == 4
    for queue in queues:  # six batches of eight have replaced every row
        np.testing.assert_allclose(np.linalg.norm(queue, axis=1), 1, rtol=1e-4)
