"""OpenDT: a digital twin for datacenters.

Data flows one way through the packages, in this order: traces, stream, windows, engine, lake,
calibration and optimize, api and reports. The library never imports Prefect.
"""

__version__ = "0.1.0"
