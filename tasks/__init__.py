"""Prefect wrappers around the library: one library call each, plus retry, timeout and name.

Importing this package sets Prefect's environment, so it has to come before ``import prefect``.
"""

from tasks import environment

environment.apply()
