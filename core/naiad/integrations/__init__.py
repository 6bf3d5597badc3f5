"""What Neptune kept under `neptune.integrations` and needs no framework."""
