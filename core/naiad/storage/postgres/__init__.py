"""A back end over PostgreSQL and an object store, for servers of many replicas."""
