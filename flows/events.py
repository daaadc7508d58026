"""Names that our flows and a Prefect server agree on."""

DRIFT_EVENT = "opendt.drift"
TAG = "opendt"  # carried by every run of ours; the server's automations look at no others
