"""Suites for those who extend naiad: what our own plugins are tested with."""
