"""How a big kernel and its pullback are cut into blocks, and who computes them."""

from kipax.blocks.executor import BlockExecutor, TargetPass, TargetRows, TargetSource
from kipax.blocks.local import LocalExecutor
from kipax.blocks.plan import Block, BlockPlan, default_memory_gb, plan_blocks
from kipax.blocks.targets import DatasetTargets

__all__ = [
    "Block",
    "BlockExecutor",
    "BlockPlan",
    "DatasetTargets",
    "LocalExecutor",
    "TargetPass",
    "TargetRows",
    "TargetSource",
    "default_memory_gb",
    "plan_blocks",
]
