"""A project whose pipelines are small and do one thing each."""
