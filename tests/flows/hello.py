"""A flow for tests of serving: says where it runs, fails or waits on request."""

from __future__ import annotations

import os
import time
from pathlib import Path

from prefect import flow
from pydantic import BaseModel, Field

import flows  # noqa: F401


class HelloParameters(BaseModel):
    path: str = Field("", title="Where to write", description="File that gets the process id.")
    wait_s: float = Field(0.0, ge=0, title="Wait [s]", description="How long to take.")
    config: str = ""


@flow(name="hello", persist_result=False)
def hello(params: HelloParameters) -> None:
    if params.path:
        Path(params.path).write_text(str(os.getpid()))
    time.sleep(params.wait_s)
