"""Fields: each kind of content of a path, one file a kind."""
