"""Names of `neptune.integrations` that need no framework."""
