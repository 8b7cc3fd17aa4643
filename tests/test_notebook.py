"""The notebook runs from its first cell to its last against a lake and a service, and its pictures are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "01_ctr.ipynb"


def read_notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def code_cells() -> list[Any]:
    return [cell for cell in read_notebook().cells if cell.cell_type == "code"]


def test_the_notebook_is_kept_without_outputs() -> None:
    assert [cell.outputs for cell in code_cells() if cell.outputs] == []
    assert {cell.execution_count for cell in code_cells()} == {None}


@pytest.mark.slow
@pytest.mark.path
def test_the_notebook_runs_and_finds_the_same_ctr_in_the_service_and_the_lake(
    sample_lake: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("CTR_URL", sample_lake.service_url())
    monkeypatch.setenv("CTR_LAKE", sample_lake.lake)

    client = NotebookClient(read_notebook(), timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    done = client.execute()

    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "13,553 views, 272 purchases: the same from both" in printed  # all of the sample, the last order too
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
