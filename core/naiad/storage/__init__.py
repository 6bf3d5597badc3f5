"""Storage: where runs are kept, behind one interface."""
