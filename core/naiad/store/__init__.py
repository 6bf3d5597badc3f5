"""Keeping: journals, the index they are folded into, and reading both back."""
