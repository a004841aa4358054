"""The REST API: parse, ask, answer."""
