"""Names of CTR_* variables: the service knows and refuses the same as the jobs."""

from __future__ import annotations

import pytest

from jobs import variables as of_jobs
from jobs.config import Config
from serving.errors import SettingsError
from serving.settings import Settings, load_settings
from serving.variables import JOBS, OTHERS, unknown_variables


def test_the_settings_of_the_jobs_are_those_that_they_declare():
    assert set(JOBS) == set(Config.model_fields)
    assert list(JOBS) == sorted(JOBS)
    assert OTHERS == of_jobs.OTHERS


@pytest.mark.parametrize(
    "name",
    [
        "HOME",
        "CTR_PORT",
        "CTR_TASK_BYTES",
        "CTR_CONF",
        "CTR_PORT_8000_TCP",
        "CTR_PROT",
        "CTR_Lake",
        "ctr_port",
        "CTR_X",
    ],
)
def test_a_name_is_refused_in_the_words_of_the_jobs_or_by_neither(name):
    assert unknown_variables([name], Settings.model_fields) == of_jobs.unknown_variables([name], Config.model_fields)


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
