"""Converters into the OpenDC format: GWA Bitbrains CSV and the Standard Workload Format."""

from opendt.traces.convert.bitbrains import read_bitbrains
from opendt.traces.convert.common import Converted, convert_trace
from opendt.traces.convert.swf import SwfOptions, read_swf

__all__ = ["Converted", "SwfOptions", "convert_trace", "read_bitbrains", "read_swf"]
