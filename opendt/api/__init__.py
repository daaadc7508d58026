"""The REST API: reads the lake, sends changes as messages."""
