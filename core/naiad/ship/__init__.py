"""Shipping: sending the journals of runs to a server, and asking it."""
