"""From the text of a query to its tree. The grammar is `nql.lark` beside this file."""

from __future__ import annotations

import functools
import re
from collections.abc import Set
from pathlib import Path
from typing import Any, TypeGuard

import lark

from naiad.errors import InvalidQuery, NaiadTypeError, shown
from naiad.kinds import KINDS
from naiad.query.literals import Problem, kind_of, pattern_of, text_of, unquoted, value_of
from naiad.query.tree import And, Compare, Contains, Exists, FieldName, Matches, Node, Not, OneOf, Or, leaves

LONGEST, DEEPEST, MOST, BRACKETS = 30_000, 20, 100, 1_000
"""Characters of a query, how deep its clauses may nest, how many there may be, and "(": no query may stop a store."""
SEARCHES = 10
"""Clauses that look through texts; no index helps them."""
SHOWN_BEFORE, SHOWN_AFTER = 50, 20
"""Characters of a query that a message shows before and after the place it is about."""

EXPECTED = {
    "_AND": "AND",
    "_OR": "OR",
    "NOT": "NOT",
    "LPAR": '"("',
    "RPAR": '")"',
    "COLON": '":" and the type of the field, as in accuracy:float',
    "TYPE": "the type of the field",
    "SIGN": "= != > >= < <=",
    "CONTAINS": "CONTAINS",
    "MATCHES": "MATCHES",
    "EXISTS": "EXISTS",
    "NAME": "the name of a field",
    "QUOTED": "a value",
    "$END": "the end",
}
"""Terminals of the grammar as people call them, in the order in which a message names them; others are left out."""


def parse(query: str) -> Node | None:
    """Return the tree of a query; None of an empty one, which everything fits.

    Raises:
        InvalidQuery: it is no query; the message points at the column.
    """
    if not isinstance(query, str):
        raise NaiadTypeError(f"query= takes a str, not {shown(query)}.", argument="query", value=query)
    if len(query) > LONGEST:
        raise InvalidQuery(f"A query has at most {LONGEST:,} characters, and this one has {len(query):,}.", query=query)
    if query.count("(") > BRACKETS:
        raise InvalidQuery(f'A query has at most {BRACKETS:,} "(", and this one has {query.count("("):,}.', query=query)
    if not query.strip():
        return None
    try:
        tree: Node = _parser().parse(query)  # type: ignore[assignment]  # the transformer makes nodes, not lark's trees
    except Problem as problem:
        raise _refusal(query, problem.place, str(problem)) from None
    except lark.UnexpectedCharacters as error:
        place: Any = error.pos_in_stream  # lark itself says None of it
        raise _refusal(query, place, _unreadable(query, place, error)) from None
    except lark.UnexpectedToken as error:
        place = len(query.rstrip()) if error.token.type == "$END" else error.token.start_pos or 0
        raise _refusal(query, place, _expected(error.accepts or error.expected)) from None
    found = [depth for _leaf, depth in leaves(tree)]
    searches = sum(isinstance(leaf, (Contains, Matches)) for leaf, _depth in leaves(tree))
    if searches > SEARCHES:
        raise InvalidQuery(
            f"A query has at most {SEARCHES} clauses with CONTAINS or MATCHES, and this one has {searches:,}.",
            query=query,
        )
    if max(found) > DEEPEST or len(found) > MOST:
        raise InvalidQuery(
            f"A query has at most {MOST:,} clauses, nested at most {DEEPEST} deep; this one has {len(found):,}, "
            f"nested {max(found):,} deep.",
            query=query,
        )
    return tree


@functools.cache
def _parser() -> lark.Lark:
    grammar = Path(__file__).with_name("nql.lark").read_text(encoding="utf-8")
    return lark.Lark(grammar, parser="lalr", lexer="contextual", transformer=_Nodes(), maybe_placeholders=False)


@lark.v_args(inline=True)
class _Nodes(lark.Transformer[Any, Any]):
    """Makes a node of each rule, as it is recognised: so no depth of nesting needs a stack."""

    def any(self, *terms: Node) -> Node:
        texts: dict[FieldName, list[str]] = {}
        for term in terms:
            if _is_text(term):
                texts.setdefault(term.field, []).append(term.value)
        joined = tuple(OneOf(field, tuple(values)) for field, values in texts.items())
        found = (*joined, *(term for term in terms if not _is_text(term)))
        return found[0] if len(found) == 1 else Or(found)

    def all(self, *terms: Node) -> Node:
        return And(terms)

    def negation(self, _not: lark.Token, term: Node) -> Node:
        return term.term if isinstance(term, Not) else Not(term)

    def plain_field(self, name: lark.Token, type_name: lark.Token) -> tuple[FieldName, lark.Token]:
        path = unquoted(name) if name.type == "QUOTED_NAME" else str(name)
        return FieldName(_normal(path), kind_of(type_name)), name

    def aggregate(self, word: lark.Token, field: tuple[FieldName, lark.Token]) -> tuple[FieldName, lark.Token]:
        name, place = field
        if not KINDS[name.kind].aspects:
            raise Problem(word, f"{word}() is for fields of type floatSeries")
        return FieldName(name.path, name.kind, word.lower()), place

    def compare(self, field: tuple[FieldName, lark.Token], sign: lark.Token, value: lark.Token) -> Node:
        name, _place = field
        return Compare(name, str(sign), value_of(name.kind, sign, value))

    def contains(self, field: tuple[FieldName, lark.Token], *words: lark.Token) -> Node:
        name, _place = field
        return _maybe_not(words, Contains(name, text_of(name.kind, words[-2], words[-1])))

    def matches(self, field: tuple[FieldName, lark.Token], *words: lark.Token) -> Node:
        name, _place = field
        return _maybe_not(words, Matches(name, pattern_of(name.kind, words[-2], words[-1])))

    def exists(self, field: tuple[FieldName, lark.Token], *words: lark.Token) -> Node:
        return _maybe_not(words, Exists(field[0]))


def _is_text(node: Node) -> TypeGuard[_TextIs]:
    return isinstance(node, Compare) and node.sign == "=" and KINDS[node.field.kind].compared_as == "text"


class _TextIs(Compare):
    """A comparison with a text, to the type checker."""

    value: str


def _maybe_not(words: tuple[lark.Token, ...], node: Node) -> Node:
    return Not(node) if words[0].type == "NOT" else node


def _normal(path: str) -> str:
    """Normalize a path as fields do; an impossible path stays as it is and matches nothing."""
    return "/".join(part for part in path.split("/") if part)


def _unreadable(query: str, place: int, error: lark.UnexpectedCharacters) -> str:
    sign = query[place]
    if sign in "\"'`" and query.count(sign, place) == 1:
        return f"this {sign} is not closed"
    return _expected(error.allowed or set())


def _expected(terminals: Set[str]) -> str:
    names = [name for terminal, name in EXPECTED.items() if terminal in terminals]
    if not names:
        return "this is not understood"
    *others, last = names
    return f"expected {', '.join(others)} or {last}" if others else f"expected {last}"


def _refusal(query: str, place: int, what: str) -> InvalidQuery:
    """Return the error for a place in a query: reason, query, and a caret below the place."""
    line = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", " ", query)
    start, stop = max(0, place - SHOWN_BEFORE), place + SHOWN_AFTER
    before = ("..." if start else "") + line[start:place]
    after = line[place:stop] + ("..." if stop < len(line) else "")
    return InvalidQuery(
        f"Column {place + 1} of the query: {what}.\n  {before}{after}\n  {' ' * len(before)}^",
        query=query,
        column=place + 1,
    )
