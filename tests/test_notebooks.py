"""The notebooks run from top to bottom, and lie here as they ran: figures drawn, no error."""

import json
import pathlib

import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def _code_cells(path):
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]


def test_there_are_some():
    assert [p.stem for p in NOTEBOOKS] == ["distil_your_own", "distilled_sets"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_stored_outputs(path):
    cells = _code_cells(path)
    outputs = [o for c in cells for o in c["outputs"]]
    assert all(o["output_type"] != "error" for o in outputs)
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 2
    assert [c["execution_count"] for c in cells] == list(range(1, len(cells) + 1))
    assert "/home/" not in path.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_runs(path, tmp_path):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient").NotebookClient
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(path, as_version=4)
    for _ in range(2):  # as a user does who comes back to it
        client(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    drawn = [o for c in notebook.cells for o in c.get("outputs", []) if "data" in o]
    assert sum("image/png" in o["data"] for o in drawn) >= 2
