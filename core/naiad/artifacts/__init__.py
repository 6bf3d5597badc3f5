"""Artifacts: files that stay where they are and are tracked there."""
