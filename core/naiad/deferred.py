"""Dataclasses whose methods are made when the first instance is: the same names as in `dataclasses`.

`dataclasses` compiles the text of five methods for each class, which takes 0.5 ms, and importing it takes as long as
twenty of them. A program that logs a run imports sixty such classes and needs few of them. The one rule: a class that
every run makes an instance of is a NamedTuple or a `msgspec.Struct` instead, because importing `dataclasses` for it
would cost the start of every script more than all others together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import asdict as asdict  # noqa: PLC0414 (for other modules)
    from dataclasses import astuple as astuple  # noqa: PLC0414 (for other modules)
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 (for other modules)
    from dataclasses import field as field  # noqa: PLC0414 (for other modules)
    from dataclasses import fields as fields  # noqa: PLC0414 (for other modules)
    from dataclasses import replace as replace  # noqa: PLC0414 (for other modules)
else:
    import threading

    METHODS = ("__init__", "__repr__", "__eq__", "__hash__")
    ORDER = ("__lt__", "__le__", "__gt__", "__ge__")
    _lock = threading.RLock()

    def dataclass(made=None, /, **options):
        """Make a class a dataclass at its first instance; see `dataclasses.dataclass`."""
        if made is None:
            return lambda each: _defer(each, options)
        return _defer(made, options)

    def field(**options):
        """Describe a member; see `dataclasses.field`."""
        return _Member(options)

    def replace(instance, /, **changes):
        """See `dataclasses.replace`."""
        from dataclasses import replace

        return replace(instance, **changes)

    def fields(instance):
        """See `dataclasses.fields`."""
        from dataclasses import fields

        return fields(instance)

    def asdict(instance):
        """See `dataclasses.asdict`."""
        from dataclasses import asdict

        return asdict(instance)

    def astuple(instance):
        """See `dataclasses.astuple`."""
        from dataclasses import astuple

        return astuple(instance)

    class _Member:
        """The arguments of one `field`, for later."""

        def __init__(self, options):
            self.options = options

    class _Members:
        """Stands for `__dataclass_fields__`, so that a look at the class finds a dataclass."""

        def __init__(self, complete):
            self._complete = complete

        def __get__(self, instance, owner):
            self._complete()
            return owner.__dataclass_fields__

    # A class is completed while other threads use it. So the methods are made for a copy of the class, which no other
    # thread knows, and then put into the place of their stand-ins one by one: at each moment each of them works.

    def _defer(made, options):
        given = {name: value.options for name, value in vars(made).items() if isinstance(value, _Member)}
        for name in given:
            delattr(made, name)
        names = [name for name in METHODS if options.get(name.strip("_"), True) and name not in vars(made)]
        if "__eq__" in vars(made):
            names = [name for name in names if name != "__hash__"]
        if options.get("order"):
            names += ORDER
        is_complete = False

        def complete():
            nonlocal is_complete
            with _lock:
                if not is_complete:
                    _fill(made, options, given, stand_ins)
                    is_complete = True

        def stand_in(name):
            def method(self, *arguments, **named):
                complete()
                return getattr(type(self), name)(self, *arguments, **named)

            return method

        stand_ins = {name: stand_in(name) for name in names} | {"__dataclass_fields__": _Members(complete)}
        for name, value in stand_ins.items():
            setattr(made, name, value)
        if options.get("frozen"):
            made.__setattr__, made.__delattr__ = _frozen(made)
        return made

    def _fill(made, options, given, stand_ins):
        import dataclasses

        own = {name: value for name, value in vars(made).items() if name not in stand_ins}
        for name in ("__dict__", "__weakref__", "__setattr__", "__delattr__"):
            own.pop(name, None)
        own |= {name: dataclasses.field(**each) for name, each in given.items()}
        copy = dataclasses.dataclass(**options)(type(made)(made.__name__, made.__bases__, own))
        for name in given:
            if name in vars(copy):
                setattr(made, name, vars(copy)[name])
        last = [*stand_ins, "__dataclass_params__", "__match_args__"]
        for name in (*(each for each in last if each not in METHODS), *METHODS):
            if name in vars(copy):
                setattr(made, name, vars(copy)[name])
            elif name in stand_ins:
                delattr(made, name)

    def _frozen(made):
        """Return the methods that keep an instance from being changed."""

        def is_barred(self, name):
            return type(self) is made or name in made.__dataclass_fields__

        def __setattr__(self, name, value):
            if is_barred(self, name):
                from dataclasses import FrozenInstanceError

                raise FrozenInstanceError(f"cannot assign to field {name!r}")
            super(made, self).__setattr__(name, value)

        def __delattr__(self, name):
            if is_barred(self, name):
                from dataclasses import FrozenInstanceError

                raise FrozenInstanceError(f"cannot delete field {name!r}")
            super(made, self).__delattr__(name)

        return __setattr__, __delattr__
