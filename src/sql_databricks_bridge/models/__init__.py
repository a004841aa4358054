"""Frozen data without I/O."""
