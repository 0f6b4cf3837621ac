"""Cuts a large kernel and its pullback into blocks, and computes them here or on workers."""

from kipax.blocks.executor import BlockExecutor, TargetPass, TargetRows, TargetSource
from kipax.blocks.job import BlockJob, MakeExecutor, make_local
from kipax.blocks.local import LocalExecutor
from kipax.blocks.plan import Block, BlockPlan, default_memory_gb, plan_blocks
from kipax.blocks.targets import DatasetTargets, TargetRecipe, hash_targets

__all__ = [
    "Block",
    "BlockExecutor",
    "BlockJob",
    "BlockPlan",
    "DatasetTargets",
    "LocalExecutor",
    "MakeExecutor",
    "TargetPass",
    "TargetRecipe",
    "TargetRows",
    "TargetSource",
    "default_memory_gb",
    "hash_targets",
    "make_local",
    "plan_blocks",
]
