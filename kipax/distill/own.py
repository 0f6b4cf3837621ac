"""The kernels that a run uses, and the checks of a kernel function that the user has given."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kipax.distill.config import RunConfig
from kipax.errors import UsageError
from kipax.kernels import FunctionKernel, KernelSpec, check_function, import_kernel
from kipax.kernels.functions import check_same

__all__ = ["check_resumed", "given_function", "open_kernels", "own_facts"]


def open_kernels(
    config: RunConfig, image_shape: tuple[int, ...], kernel_fn: Callable[..., Any] | None = None
) -> tuple[KernelSpec, ...]:
    """Returns the kernel that evaluates a run, followed by the kernels that its steps use.

    A function of the user's is tried on a few images first.

    Args:
        config: the config, which names the kernels.
        image_shape: ``(height, width, channels)`` of the images.
        kernel_fn: the function that the architecture ``python:NAME`` stands for; None imports
            ``python:MODULE:FUNCTION``.

    Raises:
        UsageError: an image is too small for a network, a function is missing, has no name, or
            is not one to learn with (see `kipax.kernels.check_function`).
    """
    specs = (config.kernel_spec, *config.kernel_specs)
    name = config.architecture
    if specs[0].architecture.in_process_only:
        named = FunctionKernel(name, function=kernel_fn or import_kernel(name))
        opened = check_function(named, image_shape)
        return tuple(dataclasses.replace(spec, architecture=opened) for spec in specs)
    if kernel_fn is not None:
        raise UsageError(
            f"a run records its kernel_fn by a name, architecture='python:NAME'; got {name!r}."
        )
    for spec in specs:
        spec.architecture.check_image_shape(image_shape)
    return specs


def given_function(kernel: KernelSpec) -> Callable[..., Any] | None:
    """Returns the user's function that a kernel is; None for the kernels that kipax computes."""
    described = kernel.architecture
    return described.function if isinstance(described, FunctionKernel) else None


def own_facts(kernel: KernelSpec) -> dict[str, Any]:
    """Returns what run.json records of a user's function: its name, and its values at a few images.

    Nothing is recorded of the kernels that kipax computes.
    """
    described = kernel.architecture
    return {"kernel": described.to_dict()} if described.in_process_only else {}


def check_resumed(
    stored: Mapping[str, Any], kernel: KernelSpec, image_shape: tuple[int, ...], folder: Path
) -> None:
    """Raises a `UsageError` if a run is continued with another function than it began with.

    Args:
        stored: the content of run.json.
        kernel: the kernel of today.
        image_shape: shape of the images.
        folder: the run's folder, for the message.
    """
    now = kernel.architecture
    if isinstance(now, FunctionKernel):
        begun = dataclasses.replace(now, probe=tuple(stored["kernel"]["probe"]))
        check_same(begun, image_shape, f"the run in {folder}")
