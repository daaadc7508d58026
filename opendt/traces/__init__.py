"""Traces: reading with checks, generating, fetching, converting. Entry point: ``read_trace``."""

from opendt.traces.reader import Trace, TraceReport, read_trace

__all__ = ["Trace", "TraceReport", "read_trace"]
