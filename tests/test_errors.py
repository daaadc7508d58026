"""The error family: facts as attributes, exit codes, survival of pickling between processes."""

from __future__ import annotations

import pickle

import pytest

from opendt import errors


def test_facts_become_attributes():
    error = errors.TraceError("bad", file="tasks.parquet", row=812)
    assert (error.file, error.row) == ("tasks.parquet", 812)
    with pytest.raises(AttributeError):
        _ = error.column


@pytest.mark.parametrize(
    ("kind", "code"), [(errors.TraceError, 2), (errors.EngineError, 1), (errors.LakeBusyError, 75)]
)
def test_exit_code_follows_the_kind(kind, code):
    assert kind("x").exit_code == code


def test_only_transient_errors_are_transient():
    assert issubclass(errors.LakeBusyError, errors.TransientError)
    assert not issubclass(errors.EngineError, errors.TransientError)


def test_errors_cross_process_borders():
    error = pickle.loads(pickle.dumps(errors.StreamGapError("gap", topic="t", expected=3, got=5)))
    assert isinstance(error, errors.StreamGapError)
    assert (str(error), error.expected, error.got) == ("gap", 3, 5)
