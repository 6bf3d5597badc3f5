"""Users' files: names, patterns, archives, and files that are tracked where they lie."""
