"""Integrity: checksums of finished runs, verification and repair."""
