"""Imports go down the rooms only, and `import kipax` is light."""

import ast
import importlib
import pathlib
import subprocess
import sys

import pytest

import kipax

PACKAGE = pathlib.Path(kipax.__file__).parent
# Bottom up; a room may import the rooms above it in this list, never one below.
ROOMS = [
    "version",
    "errors",
    "files",
    "verdicts",
    "config",
    "report",
    "trees",
    "ledger",
    "runs",
    "download",
    "pixels",
    "architectures",
    "kernels",
    "ridge",
    "data",
    "augment",
    "plots",
    "rendering",
    "exports",
    "support_file",
    "support_checks",
    "shipped",
    "support",
    "loading",
    "released",
    "analysis",
    "blocks",
    "distill",
    "students",
    "networks",
    "training",
    "probes",
    "transfer",
    "kd",
    "flags",
    "console",
    "commands",
    "__main__",
]
HEAVY = [
    "tensorflow",
    "tensorflow_datasets",
    "launchpad",
    "courier",
    "ray",
    "neural_tangents",
    "matplotlib",
    "dm_pix",
    "PIL",
    "torch",
]
ALLOWED = {
    "neural_tangents": {"kernels/_ntcompat.py"},
    "matplotlib": {"plots/figures.py", "plots/lines.py"},
    "tensorflow": {"data/tfds.py"},
    "tensorflow_datasets": {"data/tfds.py"},
    "dm_pix": {"augment/geometry.py"},
    "PIL": {"data/resize.py", "exports.py"},
    "torch": {"exports.py", "students/published.py"},
    "courier": {"blocks/courier.py"},
    "ray": {"blocks/ray.py"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def _imports(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):  # what only a type checker reads is no import
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "kipax" and len(parts) > 1 and parts[1] in ROOMS else None


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path):
    relative = path.relative_to(PACKAGE)
    own = relative.parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in ROOMS, f"{relative} lies in a room that tests/test_layers.py does not know"
    for module in _imports(path):
        room = _room(module)
        if room is not None:
            assert ROOMS.index(room) <= ROOMS.index(own), f"{relative} imports {module} upward"
        top = module.split(".")[0]
        if top in HEAVY:
            assert str(relative) in ALLOWED.get(top, set()), f"{relative} imports {top}"


SIBLINGS = ("distill", "transfer", "kd")  # which do not know each other


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_siblings_do_not_import_each_other(path):
    own = path.relative_to(PACKAGE).parts[0]
    if own in SIBLINGS:
        foreign = {_room(m) for m in _imports(path)} & (set(SIBLINGS) - {own})
        assert not foreign, f"{path.name} imports {foreign}"


def test_import_kipax_alone_loads_no_networks():
    """Flax takes a third of a second, which those who load a distilled set need not wait."""
    code = "import kipax, sys; print('flax' in sys.modules); kipax.load_network"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "False\n"


def test_import_is_light_and_changes_no_settings():
    code = (
        "import jax, sys; before = dict(jax.config.values)\n"
        "import kipax, kipax.console, kipax.transfer\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])\n"
        "print({k for k, v in jax.config.values.items() if before.get(k, v) != v})"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines() == ["[]", "set()"]


@pytest.mark.parametrize("room", ["analysis", "augment", "students", "training", "transfer"])
def test_what_a_room_promises_is_there(room):
    module = importlib.import_module(f"kipax.{room}")
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_our_tests_are_not_shadowed():
    """neural-tangents installs a top-level package `tests` of its own."""
    import tests

    assert pathlib.Path(tests.__file__).parent == pathlib.Path(__file__).parent


def test_files_are_short():
    long = {p.name: n for p in MODULES if (n := len(p.read_text().splitlines())) > 400}
    assert not long
