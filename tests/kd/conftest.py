"""A small teacher of digits, trained once."""

import pytest

from kipax.kd import TeacherConfig, run_teacher


@pytest.fixture(scope="session")
def taught(tmp_path_factory):
    """A teacher after sixty steps, as `run_teacher` leaves it."""
    folder = tmp_path_factory.mktemp("kd") / "teacher"
    config = TeacherConfig(width=16, steps=60, batch_size=64, learning_rate=0.01)
    return run_teacher(config, workdir=folder)
