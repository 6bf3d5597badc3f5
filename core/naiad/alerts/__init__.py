"""Alerts: messages to a webhook or a command when a run fails, a value is not finite, or a metric stalls."""
