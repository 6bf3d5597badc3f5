"""Capture: console, hardware and source code of a run, in the background."""
