import pytest

from jobs.decoding.records import Account, Reason
from jobs.errors import AccountError


def test_accounts_add_up_field_by_field():
    one = Account(10, 2, 2, 1, 1, 0, 3, 1, 1, 1, 100, 200, "lines")
    other = Account(5, 1, 1, 0, 0, 1, 1, 1, 0, 0, 50, 60, "lines")
    assert one + other == Account(15, 3, 3, 1, 1, 1, 4, 2, 1, 1, 50, 200, "lines")


def test_an_account_without_views_leaves_the_times_of_the_other():
    assert (Account() + Account(first_ms=1, last_ms=2)).last_ms == 2
    assert (Account(first_ms=1, last_ms=2) + Account()).first_ms == 1
    assert (Account() + Account()).first_ms is None


def test_an_empty_piece_leaves_the_layout_of_the_other():
    assert (Account(layout="empty") + Account(layout="lines")).layout == "lines"
    assert (Account(layout="lines") + Account(layout="empty")).layout == "lines"
    assert (Account(layout="lines") + Account(layout="array")).layout == "array+lines"


def test_a_sum_that_holds_passes():
    Account(
        records=3, decoded=1, quarantined_records=1, blank=1, events=3, views=1, ignored=1, quarantined_events=1
    ).check("f")


def test_a_record_that_is_missing_is_a_defect_that_names_the_file():
    with pytest.raises(AccountError, match=r"f\.json: 3 records read, but 1 decoded \+ 1 quarantined \+ 0 blank"):
        Account(records=3, decoded=1, quarantined_records=1).check("f.json")


def test_an_event_that_is_missing_is_a_defect_that_names_the_file():
    with pytest.raises(AccountError, match=r"f\.json: 2 events read, but 1 views \+ 0 ignored \+ 0 quarantined"):
        Account(events=2, views=1).check("f.json")


def test_every_reason_has_a_code_of_its_own_and_a_line_of_text():
    assert len({reason.value for reason in Reason}) == len(Reason)
    assert all(reason.text and "\n" not in reason.text for reason in Reason)
    assert f"{Reason.TOO_LONG}" == Reason("too_long") == "too_long"
