"""Names of the events that our flows emit."""

DRIFT_EVENT = "opendt.drift"
