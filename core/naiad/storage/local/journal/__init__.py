"""The journal: the files that writers append to, and reading them back."""
