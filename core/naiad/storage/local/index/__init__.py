"""The index: the tables that journals are folded into, and reading runs from them."""
