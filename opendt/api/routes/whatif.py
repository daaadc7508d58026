"""What would happen if: variants of the topology simulated on a run's workload."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from opendt.api import models
from opendt.api.context import Context, context, may_read
from opendt.api.errors import RESPONSES
from opendt.api.security import client_of

router = APIRouter(prefix="/api", tags=["what-if"], dependencies=[Depends(may_read)], responses=RESPONSES)
Ctx = Annotated[Context, Depends(context)]


@router.post("/whatif", summary="Compare changed topologies with the present one")
def whatif(request: Request, ctx: Ctx, asked: models.WhatIfRequest) -> dict[str, Any]:
    """Energy, carbon, peak, runtime, queueing and targets of each variant beside the baseline. Changes nothing."""
    ctx.whatif_rate.take(client_of(request))
    return request.app.state.whatif.answer(asked)
