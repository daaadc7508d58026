"""What happens to a run in the lake when its flow run ends without having a say."""

from __future__ import annotations

from typing import Any, Literal

from prefect import Flow
from prefect.client.schemas.objects import FlowRun
from prefect.flows import FlowStateHook
from prefect.states import State

from flows.parameters import RunParameters
from flows.runtime import flow_run_id_as_run_id
from opendt.lake import Lake


def mark_run(model: type[RunParameters], kind: str) -> FlowStateHook[..., Any]:
    """A hook for ``on_cancellation`` and ``on_crashed``: the lake's run is cancelled or failed, and can be resumed.

    It runs in whoever watched the flow (worker, ``opendt up``), because the flow's own process is gone.
    """

    def mark(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
        params = model.model_validate(flow_run.parameters["params"])
        settings = params.settings()
        run_id = params.run_id or flow_run_id_as_run_id(kind, str(flow_run.id))
        ended: Literal["cancelled", "failed"] = "failed" if state.is_crashed() else "cancelled"
        reason = state.message or f"the flow run is {state.name}"
        with Lake.open(settings.lake) as lake:
            known = lake.rows(
                "SELECT state FROM runs WHERE run_id = ? AND datacenter = ?", [run_id, settings.datacenter]
            )
            if known and known[0]["state"] == "running":
                lake.finish_run(run_id, settings.datacenter, ended, reason)

    return mark
