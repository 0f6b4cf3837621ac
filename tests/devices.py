"""Runs a script with one and with four CPU devices, and compares what it wrote."""

import os
import subprocess
import sys

import numpy as np


def arrays_on_one_and_four_devices(script, folder, *, written=".npz", **words):
    """The arrays that a script writes with one device, after a comparison with four devices.

    `script` is formatted with the number of devices, ``{count}``, the beginning of a path,
    ``{out}``, and `words`. Its arrays lie in the file at that path followed by `written`.
    """
    found = []
    for count in (1, 4):
        out = str(folder / str(count))
        flags = os.environ.get("XLA_FLAGS", "")
        flags += f" --xla_force_host_platform_device_count={count}"
        subprocess.run(
            [sys.executable, "-c", script.format(count=count, out=out, **words)],
            env=os.environ | {"XLA_FLAGS": flags},
            check=True,
        )
        with np.load(out + written) as content:
            found.append(dict(content))
    one, four = found
    assert set(one) == set(four)
    return one, four


def assert_same_arrays(one, four, *, atol):
    for name, value in one.items():
        np.testing.assert_allclose(four[name], value, rtol=1e-3, atol=atol, err_msg=name)
