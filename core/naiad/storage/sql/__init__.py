"""The catalog's tables and the search in them, written once in SQLAlchemy Core."""
