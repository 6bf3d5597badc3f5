"""How large whole numbers may be, in steps and values."""

from __future__ import annotations

EXACT = 2**53
"""Up to here every whole number is a float64; beyond it there are gaps."""
SMALLEST, LARGEST = -(2**63), 2**63 - 1
