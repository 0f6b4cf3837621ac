"""What the documentation says can be followed: links, commands and code."""

import importlib.util
import pathlib
import re

import numpy as np
import pytest

import kipax
from kipax import KIPConfig, load_dataset, run_kip
from kipax.commands import list_commands

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])
pytestmark = pytest.mark.skipif(not PAGES[0].exists(), reason="the documentation is not here")
pages = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)


@pages
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target


@pages
def test_commands_are_there(page):
    for module in re.findall(r"python -m ([A-Za-z0-9_.]+)", page.read_text()):
        if not module.endswith("."):
            assert importlib.util.find_spec(module) is not None, module


@pages
def test_kipax_has_the_commands(page):
    """Every ``kipax NAME`` in code, whether a block or within a line."""
    text = page.read_text()
    code = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    code += re.findall(r"`([^`\n]+)`", text)
    named = re.findall(r"(?:^|&& )kipax ([a-z_-]+)", "\n".join(code), re.MULTILINE)
    assert {name.replace("-", "_") for name in named} <= set(list_commands())


def test_every_page_is_in_the_site():
    site = (ROOT / "mkdocs.yml").read_text()
    assert [p.name for p in PAGES if p.parent.name == "docs" and p.name not in site] == []


def _blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the quick start's run, and what readers have of their own."""
    monkeypatch.chdir(tmp_path)
    run_kip(KIPConfig(steps=2), workdir="runs/digits-convnet-10")
    data = load_dataset("digits")
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    return {
        "x": data.x_train,
        "y": data.y_train,
        "x_test": data.x_test,
        "y_test": data.y_test,
        "my_images": data.x_test[:5],
        "images": images,
        "x1": images,
        "x2": images,
        "kipax": kipax,
        "kernel_fn": None,
    }


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if _blocks(p)], ids=lambda p: p.name)
def test_code_runs(page, place):
    """Blocks in their order, on the digits, in fewer steps; a set of one's own has two classes."""
    for block in _blocks(page):
        block = block.replace("steps=100, target_batch=500", "steps=2, target_batch=50")
        block = block.replace("width=64, steps=300", "width=4, steps=5, eval_examples=20")
        block = block.replace('(dataset="digits")', '(dataset="digits", width=4, steps=5)')
        block = block.replace('(source="shaders")', '(source="shaders", images=100, steps=5)')
        block = block.replace('objective="simclr"', 'objective="simclr", width=4, steps=5')
        if 'class_names=["cat", "dog"]' in block:
            two = np.arange(12) % 2
            place |= {
                "x": place["x"][:12],
                "y": two,
                "x_test": place["x"][20:24],
                "y_test": two[:4],
            }
        exec(compile(block, page.name, "exec"), place)
