"""A seeded synthetic cluster week: workload, hidden power curve, carbon. Entry point: ``make_trace``."""

from opendt.traces.synthetic.generate import Made, make_trace
from opendt.traces.synthetic.options import SyntheticOptions

__all__ = ["Made", "SyntheticOptions", "make_trace"]
