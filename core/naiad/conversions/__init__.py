"""How objects of other libraries become files: one plugin a library, declared in our own entry points.

A plugin knows an object by the module of its type, so that nothing is imported to find out that it is something else.
"""
