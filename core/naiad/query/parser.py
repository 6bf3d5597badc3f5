"""From the text of a query to its tree.

    query:  clause, joined by AND, OR, NOT and brackets; AND binds tighter than OR, NOT tighter than both
    clause: field SIGN value | field [NOT] IN (value, ...) | field [NOT] BETWEEN value AND value
            | field [NOT] CONTAINS value | field [NOT] MATCHES value | field [NOT] EXISTS
    field:  name | name:type | name:aspect | name:content | aspect(name) | aspect(name:type)
    name:   a path, between backticks if it has spaces or signs
    value:  a word, or a text between quotes

The parser is written by hand, because a parser generator needs a third of the time in which `naiad query` must start.
It does not recurse: no depth of brackets needs a stack.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeGuard

from msgspec import Struct, field

from naiad.errors import InvalidQuery, NaiadTypeError, shown
from naiad.kinds import ASPECTS, ATOM_OF, KINDS, POINTS, SECONDS, SYS
from naiad.query.literals import (
    Problem,
    Token,
    is_searched,
    kind_of,
    pattern_of,
    readings,
    text_of,
    unquoted,
    value_of,
)
from naiad.query.tree import (
    And,
    AnyKind,
    Compare,
    Contains,
    Exists,
    FieldName,
    Matches,
    Node,
    Not,
    OneOf,
    Or,
    clauses,
    leaves,
)

LONGEST, DEEPEST, MOST, BRACKETS = 30_000, 20, 100, 1_000
"""Characters of a query, how deep its clauses may nest, how many there may be, and "(": no query may stop a store."""
SEARCHES = 10
"""Clauses that look through texts; no index helps them."""
SHOWN_BEFORE, SHOWN_AFTER = 50, 20
"""Characters of a query that a message shows before and after the place it is about."""

VERBS = "= != > >= < <=, IN, BETWEEN, CONTAINS, MATCHES or EXISTS"

_space = re.compile(r"\s*")
_word = re.compile(r"[^\s()`\"':=<>!]+")
_quoted_name = re.compile(r"`(?:[^`\\]|\\.)+`", re.DOTALL)
_type = re.compile(r"[A-Za-z]\w*")
_aspect = re.compile(rf"({'|'.join(ASPECTS)})(?=\s*\()", re.IGNORECASE)
_sign = re.compile(r"[!<>]=|[=<>]")
_quoted = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", re.DOTALL)
_bare = re.compile(r"[^\s()`\"'=<>!][^\s()`\"']*")
_item = re.compile(r"[^\s()`\"'=<>!,][^\s()`\"',]*")
# A keyword ends where a word ends, so that `order` and `not/this` are names.
_keywords = {
    word: re.compile(rf"{word}(?![^\s()`\"':=<>!])", re.IGNORECASE)
    for word in ("AND", "OR", "NOT", "IN", "BETWEEN", "CONTAINS", "MATCHES", "EXISTS")
}


def parse(query: str) -> Node | None:
    """Return the tree of a query; None of an empty one, which everything fits.

    Raises:
        InvalidQuery: it is no query; the message points at the column.
    """
    if not isinstance(query, str):
        raise NaiadTypeError(f"query= takes a str, not {shown(query)}.", argument="query", value=query)
    if len(query) > LONGEST:
        raise InvalidQuery(f"A query has at most {LONGEST:,} characters, and this one has {len(query):,}.", query=query)
    # Before parsing: the limits on clauses and depth are known only of a tree, and making it must itself be bounded.
    if query.count("(") > BRACKETS:
        raise InvalidQuery(f'A query has at most {BRACKETS:,} "(", and this one has {query.count("("):,}.', query=query)
    if not query.strip():
        return None
    try:
        tree = _tree(_Scanner(query))
    except Problem as problem:
        raise _refusal(query, problem.place, str(problem)) from None
    _check_size(query, tree)
    return tree


def _check_size(query: str, tree: Node) -> None:
    found, deepest = clauses(tree), max(depth for _leaf, depth in leaves(tree))
    searches = sum(isinstance(_one(clause), (Contains, Matches)) for clause in found)
    if searches > SEARCHES:
        raise InvalidQuery(
            f"A query has at most {SEARCHES} clauses with CONTAINS or MATCHES, and this one has {searches:,}.",
            query=query,
        )
    if deepest > DEEPEST or len(found) > MOST:
        raise InvalidQuery(
            f"A query has at most {MOST:,} clauses, nested at most {DEEPEST} deep; this one has {len(found):,}, "
            f"nested {deepest:,} deep.",
            query=query,
        )


def _one(clause: Node) -> Node:
    return clause.terms[0] if isinstance(clause, AnyKind) else clause


def _token(text: str, place: int, quoted: bool = False) -> Token:
    token = Token(text)
    token.place, token.quoted = place, quoted
    return token


class _Scanner:
    """A place in a query. Each method takes the next token if it is of the given kind, and moves on."""

    def __init__(self, query: str) -> None:
        self.query = query
        self.place = 0
        self._skip()

    def _skip(self) -> None:
        found = _space.match(self.query, self.place)
        self.place = found.end() if found else self.place

    @property
    def is_at_end(self) -> bool:
        return self.place == len(self.query)

    def take(self, pattern: re.Pattern[str], *, quoted: bool = False) -> Token | None:
        found = pattern.match(self.query, self.place)
        if found is None:
            return None
        token = _token(found.group(), self.place, quoted)
        self.place = found.end()
        self._skip()
        return token

    def keyword(self, *words: str) -> Token | None:
        return next((token for word in words if (token := self.take(_keywords[word]))), None)

    def mark(self, character: str) -> bool:
        if not self.query.startswith(character, self.place):
            return False
        self.place += 1
        self._skip()
        return True

    def value(self, pattern: re.Pattern[str] = _bare) -> Token:
        token = self.take(_quoted, quoted=True) or self.take(pattern)
        return token or self.fail("a value")

    def fail(self, wanted: str) -> Token:
        """Raise the problem of this place."""
        sign = self.query[self.place : self.place + 1]
        place = len(self.query.rstrip()) if self.is_at_end else self.place
        # The most frequent error by far, for which "expected a value" at the quotation mark would be no help.
        if sign and sign in "\"'`" and self.query.count(sign, place) == 1:
            raise Problem(place, f"this {sign} is not closed")
        raise Problem(place, f"expected {wanted}")


class _Bracket(Struct):
    """The state inside a bracket: terms before the last OR, terms since, whether NOT stands before it."""

    negated: bool = False
    alternatives: list[Node] = field(default_factory=list)
    terms: list[Node] = field(default_factory=list)

    def close_term(self) -> None:
        self.alternatives.append(self.terms[0] if len(self.terms) == 1 else And(tuple(self.terms)))
        self.terms = []

    def node(self) -> Node:
        self.close_term()
        found = self.alternatives[0] if len(self.alternatives) == 1 else _any(self.alternatives)
        return _not(found) if self.negated else found


def _tree(scanner: _Scanner) -> Node:
    # A stack instead of recursion. OR ends a term of the innermost bracket, which is how AND binds tighter: a term is
    # all that AND has joined since.
    open_brackets = [_Bracket()]
    while True:
        negated = False
        while scanner.keyword("NOT"):
            negated = not negated
        if scanner.mark("("):
            open_brackets.append(_Bracket(negated))
            continue
        clause = _clause(scanner)
        open_brackets[-1].terms.append(_not(clause) if negated else clause)
        # A closed bracket is one term of the bracket around it, so that several may close here one after the other.
        while len(open_brackets) > 1 and scanner.mark(")"):
            inside = open_brackets.pop().node()
            open_brackets[-1].terms.append(inside)
        if scanner.keyword("AND"):
            continue
        if scanner.keyword("OR"):
            open_brackets[-1].close_term()
        elif scanner.is_at_end and len(open_brackets) == 1:
            return open_brackets[0].node()
        else:
            scanner.fail("AND, OR or the end" if len(open_brackets) == 1 else 'AND, OR or ")"')


def _any(terms: Iterable[Node]) -> Node:
    """Return the node of OR; comparisons of one text are one clause."""
    # `id = "A" OR id = "B"`, as programs write it, becomes IN: one look-up in an index for a list, not one for each
    # term.
    texts: dict[FieldName, list[float | int | str]] = {}
    others = []
    for term in terms:
        if _is_text(term):
            texts.setdefault(term.field, []).append(term.value)
        else:
            others.append(term)
    found = (*(OneOf(name, tuple(values)) for name, values in texts.items()), *others)
    return found[0] if len(found) == 1 else Or(found)


def _is_text(node: Node) -> TypeGuard[Compare]:
    return isinstance(node, Compare) and node.sign == "=" and KINDS[node.field.kind].compared_as == "text"


def _not(node: Node) -> Node:
    # Two negations cancel out, also of a field that is not there: a clause about it is false, and its negation true.
    return node.term if isinstance(node, Not) else Not(node)


class _Field(Struct, frozen=True):
    """A field as a query names it; `kind` is None without a type."""

    path: str
    kind: str | None
    aspect: str = "last"

    def of(self, kind: str) -> FieldName:
        return FieldName(self.path, kind, self.aspect)

    def fits(self, kind: str) -> bool:
        """Whether the field may be of a kind, for a clause without a type."""
        return self.aspect == "last" or self.aspect in KINDS[kind].aspects


def _clause(scanner: _Scanner) -> Node:
    name = _field(scanner)
    sign = scanner.take(_sign)
    if sign:
        return _compare(name, sign, scanner.value())
    negation = scanner.keyword("NOT")
    verb = scanner.keyword("IN", "BETWEEN", "CONTAINS", "MATCHES", "EXISTS")
    if verb is None:
        verbs = VERBS.partition(", ")[2] if negation else f"NOT, {VERBS}"
        scanner.fail(verbs if negation or name.kind else f'":" and a type, {verbs}')
    found = _READ[str(verb).upper()](name, verb, scanner)  # type: ignore[arg-type]  # fail() raises
    return _not(found) if negation else found


def _field(scanner: _Scanner) -> _Field:
    aspect = scanner.take(_aspect)
    if aspect is None:
        return _plain_field(scanner)
    scanner.mark("(")
    inner = _plain_field(scanner)
    if not scanner.mark(")"):
        scanner.fail('")"')
    if inner.kind is not None and not KINDS[inner.kind].aspects:
        raise Problem(aspect, f"{aspect}() is for fields of type floatSeries")
    return _Field(inner.path, POINTS, aspect.lower())


def _plain_field(scanner: _Scanner) -> _Field:
    name = scanner.take(_quoted_name)
    path = unquoted(name) if name else scanner.take(_word) or scanner.fail('NOT, "(" or the name of a field')
    path = _normal(path)
    if not scanner.mark(":"):
        return _Field(path, SYS.get(path))
    kind = scanner.take(_type) or scanner.fail("the type of the field")
    # `loss:min` has the form of a type, as Neptune writes it, and names an aspect of a series.
    if kind.lower() in ASPECTS:
        return _Field(path, POINTS, kind.lower())
    if kind.lower() in SECONDS:
        return _Field(f"{path}:{kind.lower()}", ATOM_OF[str])
    return _Field(path, kind_of(kind))


def _compare(name: _Field, sign: Token, value: Token) -> Node:
    if name.kind is not None:
        return Compare(name.of(name.kind), str(sign), value_of(name.kind, sign, value))
    return _any_kind(
        Compare(name.of(kind), str(sign), found.value)
        for found in readings(sign, value)
        for kind in _kinds_of_form(name, found.form)
    )


def _in(name: _Field, verb: Token, scanner: _Scanner) -> Node:
    """Read `("a", "b")`; values without a type are found in fields of each kind that one of them can be."""
    if not scanner.mark("("):
        scanner.fail('"("')
    items = [scanner.value(_item)]
    while scanner.mark(","):
        items.append(scanner.value(_item))
    if not scanner.mark(")"):
        scanner.fail('"," or ")"')
    equal = _token("=", verb.place)
    if name.kind is not None:
        # A state is no stored value: "killed" follows from leases at the time of the query, so IN cannot be a list in
        # SQL.
        if KINDS[name.kind].holds == "state":
            return _any([_compare(name, equal, item) for item in items])
        sign = equal if KINDS[name.kind].compared_as else verb  # the refusal names what was written
        return OneOf(name.of(name.kind), _once(value_of(name.kind, sign, item) for item in items))
    values: dict[str, list[float | int | str]] = {}
    for item in items:
        for found in readings(equal, item):
            for kind in _kinds_of_form(name, found.form):
                values.setdefault(kind, []).append(found.value)
    return _any_kind(OneOf(name.of(kind), _once(found)) for kind, found in values.items())


def _once(values: Iterable[float | int | str]) -> tuple[float | int | str, ...]:
    return tuple(dict.fromkeys(values))


def _between(name: _Field, verb: Token, scanner: _Scanner) -> Node:
    """Read `1 AND 5`; both ends are inside."""
    low = scanner.value()
    if not scanner.keyword("AND"):
        scanner.fail("AND")
    high = scanner.value()
    ends = (_token(">=", verb.place), low), (_token("<=", verb.place), high)
    if name.kind is not None:
        return And(tuple(_compare(name, sign, value) for sign, value in ends))
    lowest, highest = ({each.form: each.value for each in readings(sign, value)} for sign, value in ends)
    # Without a type, both ends have to be readable as one form: 1 AND "b" fits no field.
    if not lowest.keys() & highest.keys():
        raise Problem(high, "expected a value of the same type as the one before AND")
    return _any_kind(
        And((Compare(name.of(kind), ">=", lowest[form]), Compare(name.of(kind), "<=", highest[form])))
        for form in lowest.keys() & highest.keys()
        for kind in _kinds_of_form(name, form)
    )


def _contains(name: _Field, verb: Token, scanner: _Scanner) -> Node:
    value = scanner.value()
    kinds = [kind for kind in KINDS if is_searched(kind)] if name.kind is None else [name.kind]
    return _any_kind(Contains(name.of(kind), text_of(kind, verb, value)) for kind in kinds)


def _matches(name: _Field, verb: Token, scanner: _Scanner) -> Node:
    value = scanner.value()
    kinds = _kinds_of_form(name, "text") if name.kind is None else [name.kind]
    return _any_kind(Matches(name.of(kind), pattern_of(kind, verb, value)) for kind in kinds)


def _exists(name: _Field, _verb: Token, _scanner: _Scanner) -> Node:
    return _any_kind(Exists(name.of(kind)) for kind in (KINDS if name.kind is None else [name.kind]))


_READ: dict[str, Callable[[_Field, Token, _Scanner], Node]] = {
    "IN": _in,
    "BETWEEN": _between,
    "CONTAINS": _contains,
    "MATCHES": _matches,
    "EXISTS": _exists,
}


def _kinds_of_form(name: _Field, form: str) -> list[str]:
    return [kind for kind, row in KINDS.items() if row.compared_as == form and name.fits(kind)]


def _any_kind(terms: Iterator[Node]) -> Node:
    found: Sequence[Node] = tuple(terms)
    return found[0] if len(found) == 1 else AnyKind(tuple(found))


def _normal(path: str) -> str:
    """Normalize a path as fields do; an impossible path stays as it is and matches nothing."""
    return "/".join(part for part in path.split("/") if part)


def _refusal(query: str, place: int, what: str) -> InvalidQuery:
    """Return the error for a place in a query: reason, query, and a caret below the place."""
    # One character for one character, so that the caret stays below its place; and nothing in a query may control a
    # terminal.
    line = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", " ", query)
    start, stop = max(0, place - SHOWN_BEFORE), place + SHOWN_AFTER
    before = ("..." if start else "") + line[start:place]
    after = line[place:stop] + ("..." if stop < len(line) else "")
    return InvalidQuery(
        f"Column {place + 1} of the query: {what}.\n  {before}{after}\n  {' ' * len(before)}^",
        query=query,
        column=place + 1,
    )
