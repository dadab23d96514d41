"""The tree of errors: one law for each, over whatever the module holds."""

from __future__ import annotations

import ast
import inspect
import pickle
import re

import pytest

from neto_async import errors
from neto_async.errors import InvalidRecordError, NetoError, RateLimitedError
from neto_async.models import CustomerLog
from neto_async.outcomes import Added, Invalid, NotSent, NotSentCause

KINDS = [value for value in vars(errors).values() if inspect.isclass(value) and value.__module__ == errors.__name__]
FATE = NotSent(index=4, record=CustomerLog(notes="called"), context=17, reason="r", cause=NotSentCause.GAVE_UP)


def make(kind, **more):
    """Make an error of a kind, whatever its constructor takes first."""
    return (
        kind(("username: 26 characters", "notes: character 3"), **more)
        if kind is InvalidRecordError
        else kind("a text", **more)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_error(kind):
    """Each shares the root, has a docstring, has a text, carries its fate, and pickles whole."""
    error = make(kind, outcome=FATE)
    error.add_note("seen on the second run")
    copy = pickle.loads(pickle.dumps(error))
    assert issubclass(kind, NetoError)
    assert inspect.cleandoc(kind.__doc__)
    assert str(error)
    assert kind is type(copy)
    assert error.fate is error.outcome is FATE
    assert (error.args, vars(error)) == (copy.args, vars(copy))
    assert str(error) == str(copy)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_of_no_record_is_safe_to_resend(kind):
    """Where no record is concerned, nothing was sent and nothing can come twice."""
    assert make(kind).fate is None
    assert make(kind).safe_to_resend


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_takes_the_consequence_from_its_outcome(kind):
    """An error whose record may be in the store is never called safe, whatever its class."""
    assert not make(kind, outcome=Added(index=0, record=None, log_id=1)).safe_to_resend
    assert make(kind, outcome=Invalid(index=0, record=None, errors=())).safe_to_resend


def test_all_names_what_is_there():
    """`__all__` is sorted and names every error, and nothing else."""
    assert sorted(kind.__name__ for kind in KINDS) == errors.__all__


def test_docstring_draws_the_tree_that_is_there():
    """The tree on top of the module has each error once, under its base."""
    drawn = re.findall(r"^( *)(?:[│ ]*[├└]── )?(\w+Error)\b", inspect.getdoc(errors), re.MULTILINE)
    assert sorted(errors.__all__) == sorted(name for _, name in drawn)
    lines = inspect.getdoc(errors).splitlines()
    depth = {name: next(line.index(name) for line in lines if f" {name} " in f" {line} ") for name in errors.__all__}
    assert all(
        depth[kind.__name__] == 4 * len([base for base in kind.__mro__ if issubclass(base, NetoError)])
        for kind in KINDS
    )


def test_invalid_record_error_keeps_each_fault():
    """The faults are one by one on the error and together in its text; `except ValueError` catches it."""
    error = make(InvalidRecordError)
    assert error.errors == ("username: 26 characters", "notes: character 3")
    assert "username: 26 characters; notes: character 3" == str(error)
    assert isinstance(error, ValueError)


def test_rate_limited_error_keeps_the_wait_over_a_pickle():
    """The seconds that the store asked for survive the way to another process."""
    assert pickle.loads(pickle.dumps(RateLimitedError("paused", retry_after=90.0))).retry_after == 90.0


def test_module_imports_outcomes_alone():
    """Errors import the outcomes that they carry and how to escape text, and nothing else of the package."""
    imports = [
        node for node in ast.parse(inspect.getsource(errors)).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert ["__future__", "neto_async.escaping", "neto_async.outcomes", "operator", "typing"] == sorted(
        node.module for node in imports
    )
