"""What a run may be called: its id is part of addresses, file names and event ids."""

from __future__ import annotations

from opendt.errors import InputError

MAX_LENGTH = 200
NOT_ALLOWED = "/\\"


def check_run_id(run_id: str) -> str:
    """The id, if a run may have it.

    Raises ``InputError`` when it is empty or too long, begins or ends with space or is just dots, or holds a slash, a
    backslash or a control character.
    """
    problem = _problem(run_id)
    if problem:
        raise InputError(
            f"run id {run_id[:MAX_LENGTH]!r} {problem}. Use letters, digits, dots, dashes and underscores.",
            run_id=run_id[:MAX_LENGTH],
        )
    return run_id


def _problem(run_id: str) -> str:
    if not run_id or run_id != run_id.strip():
        return "is empty, or begins or ends with space"
    if len(run_id) > MAX_LENGTH:
        return f"has {len(run_id)} characters; at most {MAX_LENGTH} are allowed"
    if any(character in NOT_ALLOWED or not character.isprintable() for character in run_id):
        return "holds a slash, a backslash or a control character"
    return "is just dots" if not run_id.strip(".") else ""
