"""How objects of other libraries become files: one plugin a library, declared in our own entry points.

A plugin recognizes an object by the module of its type, so that checking an object imports nothing.
"""
