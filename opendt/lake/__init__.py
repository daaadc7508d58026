"""The lake: DuckLake tables and views, one transaction per window."""

from opendt.lake.background import WindowWriter
from opendt.lake.lake import CommitReport, Lake
from opendt.lake.writer import Checkpoint, WindowCommit

__all__ = ["Checkpoint", "CommitReport", "Lake", "WindowCommit", "WindowWriter"]
