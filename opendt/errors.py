"""The error family. What to do next decides the type.

::

    OpenDTError                 base; has a one-sentence message and an exit code
    ├── InputError              the user's data, config or arguments are wrong (exit code 2)
    │   ├── TraceError          a trace file cannot be used: names file, row, column, remedy
    │   ├── ConfigError         a setting is unknown or out of range
    │   └── TopologyError       a topology is malformed or physically impossible
    ├── TerminalError           retrying cannot help (exit code 1)
    │   ├── EngineError         a simulation failed; has a state and a reason, never a number
    │   ├── StreamGapError      records are missing between two sequence numbers
    │   ├── LakeError           the lake refuses or contradicts what was asked
    │   └── MissingDependencyError  an optional program or package is not there; says how to get it
    └── TransientError          the same call may succeed later; the only type that is retried (exit code 75)
        ├── BrokerUnavailableError
        ├── LakeBusyError
        ├── EngineBusyError
        └── SessionRewoundError a twin has gone back to its last committed window; read the stream again from there
"""

from __future__ import annotations

from typing import Any


class OpenDTError(Exception):
    """Base of all errors OpenDT raises on purpose.

    Keyword arguments become attributes and entries of ``facts``, so that callers and logs can use the
    numbers in a message without parsing it. Facts never hold secrets.
    """

    exit_code = 1

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts

    def __getattr__(self, name: str) -> Any:
        facts = self.__dict__.get("facts", {})
        if name in facts:
            return facts[name]
        raise AttributeError(name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.facts)


def _rebuild(cls: type[OpenDTError], message: str, facts: dict[str, Any]) -> OpenDTError:
    return cls(message, **facts)


class InputError(OpenDTError):
    """The user's data, config or arguments are wrong."""

    exit_code = 2


class TraceError(InputError):
    """A trace file cannot be used. Facts: ``file``, and where known ``row`` and ``column``."""


class ConfigError(InputError):
    """A setting is unknown, of the wrong type or out of range."""


class TopologyError(InputError):
    """A topology is malformed or physically impossible."""


class TerminalError(OpenDTError):
    """Retrying cannot help."""


class EngineError(TerminalError):
    """A simulation failed. Facts: ``engine``, ``reason``."""


class StreamGapError(TerminalError):
    """Records are missing between two sequence numbers. Facts: ``topic``, ``partition``, ``expected``, ``got``."""


class LakeError(TerminalError):
    """The lake refuses or contradicts what was asked."""


class MissingDependencyError(TerminalError):
    """An optional program or package is absent. The message says how to get it."""


class TransientError(OpenDTError):
    """The same call may succeed later. The only type that is retried.

    ``in_place`` tells whether repeating the failed call itself helps, or only starting again from what is committed.
    """

    exit_code = 75
    in_place = True


class BrokerUnavailableError(TransientError):
    """No broker answered in time."""


class LakeBusyError(TransientError):
    """The lake's catalogue is locked by another writer."""


class EngineBusyError(TransientError):
    """The engine could not start for want of memory, disk or processes."""


class SessionRewoundError(TransientError):
    """Windows could not be committed; the session stands after the last committed one again. Facts: ``next_index``."""

    in_place = False
