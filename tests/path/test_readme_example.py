"""The README's example request gives the README's answer on the sample."""

from __future__ import annotations

import json
import re
from urllib.request import urlopen

import numpy
import pytest

from tests.conftest import ROOT, SampleLake

MADE_WITH = ["2", "4"]

pytestmark = [pytest.mark.path, pytest.mark.slow]


def test_the_example_of_the_readme_answers_what_the_readme_says(sample_lake: SampleLake) -> None:
    if numpy.__version__.split(".")[:2] != MADE_WITH:
        pytest.skip(f"the sample's bytes may depend on numpy; the README's were made with {'.'.join(MADE_WITH)}")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    example = re.search(r"curl 'http://127\.0\.0\.1:8000(/v1/ctr[^']*)'\n```\n\n```json\n(.*?)```", text, re.S)
    assert example
    path, wanted = example.groups()
    with urlopen(sample_lake.service_url() + path, timeout=30) as answer:
        told = answer.read().decode()
    assert told.replace("},{", "},\n {") + "\n" == wanted
    assert json.loads(told)
