"""Test suites for extensions of naiad, which our own plugins pass too."""
