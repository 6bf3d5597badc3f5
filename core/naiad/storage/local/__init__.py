"""The embedded back end: a store is a folder."""
