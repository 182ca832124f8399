"""Mutations that rules of law need and Cosmic Ray does not bring: membership, and the words of conditions.

Found by Cosmic Ray through the entry point beside this file.
"""

from collections.abc import Iterator
from typing import Any, Final

import parso
from cosmic_ray.operators.operator import Example, Operator

Position = tuple[tuple[int, int], tuple[int, int]]


class InToNotIn(Operator):
    """`x in y` becomes `x not in y`."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """Every `in` of a comparison."""
        for operator in _operators(node, "in"):
            yield operator.start_pos, operator.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Turn the `index`-th `in` round."""
        operator = list(_operators(node, "in"))[index]
        node.children[node.children.index(operator)] = parso.parse(" not in")
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """For the documentation of Cosmic Ray."""
        return (Example("x in y", "x not in y"),)


class NotInToIn(Operator):
    """`x not in y` becomes `x in y`."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """Every `not in` of a comparison."""
        for operator in _operators(node, "not in"):
            yield operator.start_pos, operator.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Turn the `index`-th `not in` round."""
        operator = list(_operators(node, "not in"))[index]
        node.children[node.children.index(operator)] = parso.parse(" in")
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """For the documentation of Cosmic Ray."""
        return (Example("x not in y", "x in y"),)


class OtherWord(Operator):
    """A word that stands in a comparison or in a display becomes another: `"press"` becomes `"press?"`."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        """Words of conditions; not those of annotations, messages and docstrings."""
        if _is_word(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:  # noqa: ARG002 - a word stands once where it stands
        """Change the word."""
        node.value = node.value[:-1] + "?" + node.value[-1]
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """For the documentation of Cosmic Ray."""
        return (Example('x == "press"', 'x == "press?"'),)


def _operators(node: Any, written: str) -> list[Any]:
    if node.type != "comparison":
        return []
    return [part for part in node.children[1::2] if " ".join(part.get_code().split()) == written]


#: Where a word of a condition stands, in the terms of parso's grammar: `==`, `{...}` and `(...)`, a key, an item.
_PLACES: Final = frozenset({"comparison", "testlist_comp", "dictorsetmaker"})


def _is_word(node: Any) -> bool:
    return node.type == "string" and node.value[0] in "\"'" and node.parent is not None and node.parent.type in _PLACES


class Provider:
    """What Cosmic Ray asks for the operators."""

    _operators: Final = {operator.__name__: operator for operator in (InToNotIn, NotInToIn, OtherWord)}

    def __iter__(self) -> Iterator[str]:
        """Names of the operators."""
        return iter(self._operators)

    def __getitem__(self, name: str) -> type[Operator]:
        """The operator of that name."""
        return self._operators[name]
