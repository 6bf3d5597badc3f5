"""The tree of a query, as plain data. Structs are made ten times faster than dataclasses when this is imported."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct


class FieldName(Struct, frozen=True):
    """A path with a kind; of a series of numbers also the aspect that is meant: last, min, max, average, variance."""

    path: str
    kind: str
    aspect: str = "last"


class Compare(Struct, frozen=True):
    """Whether the value of a field is equal to a value, or how it lies to it. `sign` is one of = != > >= < <=.

    The value of a datetime is in microseconds, that of a bool True or False; only numbers have an order beside them.
    """

    field: FieldName
    sign: str
    value: float | int | str


class OneOf(Struct, frozen=True):
    """Whether the value of a field is one of several: IN, and OR between comparisons of one text."""

    field: FieldName
    values: tuple[float | int | str, ...]


class Contains(Struct, frozen=True):
    """Whether a text has this part, or a string set this string."""

    field: FieldName
    text: str


class HasOthers(Struct, frozen=True):
    """Whether a string set has a string that is none of these."""

    field: FieldName
    texts: tuple[str, ...]


class Matches(Struct, frozen=True):
    """Whether a part of a text matches a regular expression."""

    field: FieldName
    pattern: str


class Exists(Struct, frozen=True):
    """Whether the field is there."""

    field: FieldName


class IsChild(Struct, frozen=True):
    """Whether the field has the uid of a run outside the trash; with a project, of one in this project."""

    field: FieldName
    project: str | None = None


class Not(Struct, frozen=True):
    """Whether something else is not so. A clause about a field that is not there is false, and its negation true."""

    term: Node


class And(Struct, frozen=True):
    """Whether all of these are so."""

    terms: tuple[Node, ...]


class Or(Struct, frozen=True):
    """Whether any of these is so."""

    terms: tuple[Node, ...]


class AnyKind(Or, frozen=True):
    """A clause without a type: whether it holds for one of the kinds that its value can be compared with."""


Leaf: TypeAlias = Compare | OneOf | Contains | HasOthers | Matches | Exists | IsChild
Node: TypeAlias = Leaf | And | Or | Not


def leaves(node: Node) -> list[tuple[Leaf, int]]:
    """Return the clauses of a tree and how deep each lies; without recursion, so that any depth can be measured."""
    listed: list[tuple[Leaf, int]] = []
    waiting: list[tuple[Node, int]] = [(node, 1)]
    while waiting:
        found, depth = waiting.pop()
        if isinstance(found, (And, Or)):
            # Reversed, since the last is taken first: clauses come in the order in which they were written.
            waiting += [(term, depth + 1) for term in reversed(found.terms)]
        elif isinstance(found, Not):
            waiting.append((found.term, depth + 1))
        else:
            listed.append((found, depth))
    return listed


def clauses(node: Node) -> list[Leaf | AnyKind]:
    """Return the clauses of a tree as a user wrote them: one without a type counts once."""
    listed: list[Leaf | AnyKind] = []
    waiting: list[Node] = [node]
    while waiting:
        found = waiting.pop()
        if isinstance(found, AnyKind):
            listed.append(found)
        elif isinstance(found, (And, Or)):
            waiting += reversed(found.terms)
        elif isinstance(found, Not):
            waiting.append(found.term)
        else:
            listed.append(found)
    return listed
