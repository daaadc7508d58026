"""Frozen models: topology, workload, telemetry. Checked at the door, arrays inside."""
