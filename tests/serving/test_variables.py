"""Names of CTR_* variables that the service finds: one that nothing reads is a fault."""

from __future__ import annotations

import pytest

from serving.errors import SettingsError
from serving.settings import load_settings


def test_a_variable_that_nothing_reads_is_a_fault_beside_others_and_its_value_is_not_shown(monkeypatch):
    monkeypatch.setenv("CTR_PROT", "s3cr3t")
    monkeypatch.setenv("CTR_QUEUE", "-1")
    monkeypatch.setenv("CTR_TASK_BYTES", "32m")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    text = str(caught.value)
    assert "CTR_PROT: no such setting, the nearest is CTR_PORT (see the table of settings in README.md)" in text
    assert "queue: found '-1'" in text
    assert "s3cr3t" not in text
    assert "TASK_BYTES" not in text
