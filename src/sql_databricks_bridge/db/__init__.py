"""Adapters: the real drivers behind the ports of `core.ports`."""
