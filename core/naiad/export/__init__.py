"""Exports: runs as files that other tools read, and series of many runs as one frame."""
