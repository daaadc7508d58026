"""Traces: reading with checks, cutting, writing, generating, fetching, converting. Entry point: ``read_trace``."""

from opendt.traces.reader import Trace, TraceReport, read_trace
from opendt.traces.slicing import slice_trace

__all__ = ["Trace", "TraceReport", "read_trace", "slice_trace"]
