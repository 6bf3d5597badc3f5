"""True or False."""

from __future__ import annotations

from naiad.fields.atom import Atom


class Boolean(Atom[bool]):
    """True or False; also 0, 1 and NumPy's booleans. Nothing else is taken for one of them."""

    kind = "bool"
