"""Run ids are part of addresses and file names; what would break those is refused, with the reason."""

from __future__ import annotations

import pytest

from opendt.errors import InputError
from opendt.run_id import MAX_LENGTH, check_run_id
from opendt.twin.session import RunIdentity


@pytest.mark.parametrize("run_id", ["run-20261120-093000-1f2e", "Größe 3", "a.b", "x" * MAX_LENGTH, "50%?#&=", "…"])
def test_ordinary_names_may_be_used(run_id: str) -> None:
    assert check_run_id(run_id) == run_id


@pytest.mark.parametrize(
    ("run_id", "why"),
    [
        ("", "empty"), (" a", "space"), ("a ", "space"), ("a/b", "slash"), ("../up", "slash"), ("a\\b", "slash"),
        ("a\nb", "control"), ("a\x00", "control"), (".", "dots"), ("..", "dots"),
        ("x" * (MAX_LENGTH + 1), "201 characters"),
    ],
)  # fmt: skip
def test_names_that_break_addresses_or_files_are_refused(run_id: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        check_run_id(run_id)


def test_no_run_starts_under_such_a_name() -> None:
    with pytest.raises(InputError, match="slash"):
        RunIdentity("a/b")
