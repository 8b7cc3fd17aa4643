"""Names of CTR_* variables: every one that the product reads is known, others are refused."""

from __future__ import annotations

import re

import pytest

from common.variables import JOBS, OTHERS, SERVICE, unknown_variables
from jobs.config import Config
from serving.settings import Settings
from tests.conftest import ROOT

TEXTS = [
    "README.md",
    "Makefile",
    "spark-submit.sh",
    "docs/*.md",
    "scripts/*",
    "conf/*",
    "docker/*",
    "notebooks/*.ipynb",
]


def test_the_settings_of_the_service_are_those_that_it_declares():
    assert set(SERVICE) == set(Settings.model_fields)
    assert list(SERVICE) == sorted(SERVICE)


def test_the_settings_of_the_jobs_are_those_that_they_declare():
    assert set(JOBS) == set(Config.model_fields)
    assert list(JOBS) == sorted(JOBS)


def test_every_variable_that_documents_and_scripts_name_is_known():
    files = [file for pattern in TEXTS for file in ROOT.glob(pattern) if file.is_file()]
    named = {name for file in files for name in re.findall(r"\bCTR_[A-Z_]*[A-Z]\b", file.read_text(encoding="utf-8"))}
    assert named >= {"CTR_CONF", "CTR_LAKE", "CTR_PORT", "CTR_FAULT_ROUNDS", "CTR_URL"}
    assert unknown_variables(named) == []


@pytest.mark.parametrize(
    "name",
    [
        "HOME",
        "CTR",
        "CTR_PORT",
        "CTR_TASK_BYTES",
        "CTR_CONF",
        "CTR_PORT_8000_TCP",
        "CTR_PORT_8000_TCP_ADDR",
        "CTR_SERVICE_HOST",
        "CTR_API_SERVICE_PORT_HTTP",
        "CTR_API_PORT",
    ],
)
def test_what_belongs_to_others_is_let_be(name):
    assert unknown_variables([name]) == []


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("CTR_FATAL_LIMIT", "CTR_FATAL_LIMIT: no such setting, the nearest is CTR_FATAL_LIMITS"),
        ("CTR_HEAVY_ROW", "CTR_HEAVY_ROW: no such setting, the nearest is CTR_HEAVY_ROWS"),
        ("CTR_CONFIG", "CTR_CONFIG: no such setting, the nearest is CTR_CONF"),
        ("CTR_PROT", "CTR_PROT: no such setting, the nearest is CTR_PORT"),
        ("ctr_port", "ctr_port: no such setting, the nearest is CTR_PORT"),
        ("CTR_Lake", "CTR_Lake: no such setting, the nearest is CTR_LAKE"),
        ("ctr_batch_bytes", "ctr_batch_bytes: no such setting, the nearest is CTR_BATCH_BYTES"),
        ("CTR_XYZXYZXYZXYZ", "CTR_XYZXYZXYZXYZ: no such setting"),
    ],
)
def test_a_misspelt_name_is_told_with_the_nearest_one(name, fault):
    assert unknown_variables([name]) == [f"{fault} (see the table of settings in README.md)"]


def test_no_other_part_of_the_product_is_named_like_a_setting():
    assert not set(OTHERS) & (set(SERVICE) | set(JOBS))
