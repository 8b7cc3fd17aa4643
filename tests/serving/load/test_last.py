from __future__ import annotations

import pytest

from serving.load.last import INSISTING, YIELDING, next_niceness


@pytest.mark.parametrize(
    ("at_work", "share", "yielding", "insisting"),
    [
        (False, 0.0, YIELDING, YIELDING),
        (False, 1.0, YIELDING, YIELDING),
        (True, 0.01, INSISTING, INSISTING),
        (True, 0.1, YIELDING, INSISTING),
        (True, 0.9, YIELDING, YIELDING),
    ],
)
def test_who_starves_at_work_insists_until_there_is_enough(at_work, share, yielding, insisting):
    assert next_niceness(YIELDING, at_work, share) == yielding
    assert next_niceness(INSISTING, at_work, share) == insisting
