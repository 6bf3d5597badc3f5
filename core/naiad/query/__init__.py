"""NQL, Neptune's query language: a text becomes a small tree, and the tree a SQL expression over the catalog."""
