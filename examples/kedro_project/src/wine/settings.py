"""Kedro's defaults; nothing in here knows of naiad."""
