"""What a Prefect server does by itself for us: mark crashed runs, call a webhook on failure or drift."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.actions import CallWebhook, ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture, ResourceSpecification
from prefect.types import SecretDict
from pydantic import SecretStr

from flows.events import DRIFT_EVENT, TAG
from opendt.settings import PrefectSettings

ZOMBIES = "opendt: mark crashed runs"
FAILURE = "opendt: call webhook when a run fails"
DRIFT = "opendt: call webhook on drift"
WEBHOOK = "opendt-webhook"

_ENDED = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed", "Paused")}
_OURS = ResourceSpecification({"prefect.resource.id": f"prefect.tag.{TAG}"})
_FLOW_RUN = ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"})


def zombies(after_s: float) -> AutomationCore:
    """A flow run of ours whose heartbeat stops without an end is marked as crashed after so many seconds."""
    return AutomationCore(
        name=ZOMBIES,
        description="A run that was killed together with whoever watched it would stay Running for ever.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"}, expect={"prefect.flow-run.heartbeat", *_ENDED}, match=_FLOW_RUN,
            match_related=_OURS, for_each={"prefect.resource.id"}, posture=Posture.Proactive, threshold=1,
            within=timedelta(seconds=after_s),
        ),
        actions=[
            ChangeFlowRunState(
                state="CRASHED",
                message="The process of this run died. Start it again with the same run id: it goes on where it was.",
            )
        ],
    )  # fmt: skip


def on_failure(webhook: UUID) -> AutomationCore:
    """A failed or crashed run of ours calls the webhook."""
    return AutomationCore(
        name=FAILURE,
        description="Runs with the tag opendt that end as Failed or Crashed.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}, match=_FLOW_RUN,
            match_related=_OURS, posture=Posture.Reactive, threshold=1, within=timedelta(0),
        ),
        actions=[CallWebhook(block_document_id=webhook, payload=_payload("run failed", "flow_run.state.message"))],
    )  # fmt: skip


def on_drift(webhook: UUID) -> AutomationCore:
    """The event that a twin emits when its model stops describing the cluster calls the webhook."""
    return AutomationCore(
        name=DRIFT,
        description="Emitted by calibration, with the evidence.",
        trigger=EventTrigger(expect={DRIFT_EVENT}, posture=Posture.Reactive, threshold=1, within=timedelta(0)),
        actions=[CallWebhook(block_document_id=webhook, payload=_payload("drift", "event.payload.text"))],
    )  # fmt: skip


def _payload(kind: str, expression: str) -> str:
    """A template of JSON: what happened, to which resource, when."""
    return (
        f'{{"kind": "{kind}", "text": {{{{ ({expression} or "") | tojson }}}}, '
        '"resource": {{ event.resource.id | tojson }}, "when": "{{ event.occurred }}"}'
    )


def register(settings: PrefectSettings) -> list[str]:
    """Create or update our automations on the current server; returns their names. Others are left alone."""
    with get_client(sync_client=True) as client:
        wanted = [zombies(settings.zombie_after_s)]
        url = settings.webhook_url.get_secret_value()
        if url:
            block = Webhook(method="POST", url=SecretStr(url), headers=SecretDict({"content-type": "application/json"}))
            saved = block.save(WEBHOOK, overwrite=True)
            assert isinstance(saved, UUID)
            wanted += [on_failure(saved), on_drift(saved)]
        for automation in wanted:
            _put(client, automation)
        for name in {ZOMBIES, FAILURE, DRIFT} - {automation.name for automation in wanted}:
            for found in client.read_automations_by_name(name):
                client.delete_automation(found.id)
    return [automation.name for automation in wanted]


def _put(client: SyncPrefectClient, automation: AutomationCore) -> None:
    found = client.read_automations_by_name(automation.name)
    if found:
        client.update_automation(found[0].id, automation)
    else:
        client.create_automation(automation)
