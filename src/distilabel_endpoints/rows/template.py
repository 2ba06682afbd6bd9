"""The one door to jinja2: a template over a row's columns that cannot escape or run away.

Escape: jinja2's immutable sandbox, and of methods only those on a short list. Runaway: every value
that a template makes is bounded in size, every operation on bounded values ends soon, and between
operations a meter counts steps and the thread's own CPU time. So it works in any thread, needs no
signal, and the step limit gives the same verdict on every machine. Nothing random is offered, and
no other template can be loaded: a prompt is a function of its row.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, UndefinedError, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from distilabel_endpoints.errors import ConfigurationError, ConversationError
from distilabel_endpoints.rows.json_text import BadInputError, json_value, quoted
from distilabel_endpoints.rows.metering import (
    ESTIMATES,
    ITEM_SIZE,
    MAX_SIZE,
    METHOD_ESTIMATES,
    LimitError,
    Meter,
    argument_size,
    bits_size,
    extent,
    product_size,
)

__all__ = ["PromptTemplate"]

MAX_SOURCE = 64 * 1024
"""Characters of a template."""
_FILTERS = (
    "abs capitalize count d default dictsort e escape first float groupby indent int items join "
    "last length list lower map max min reject rejectattr replace reverse round select "
    "selectattr sort string sum title trim truncate unique upper urlencode"
)
_METHODS = (
    "as_integer_ratio bit_length capitalize casefold changed count cycle date endswith find get "
    "index is_integer isalnum isalpha isdigit islower isnumeric isocalendar isoformat isoweekday "
    "isspace istitle isupper items keys lower lstrip next partition removeprefix removesuffix "
    "replace reset rfind rpartition rsplit rstrip split splitlines startswith strftime strip "
    "swapcase time timestamp title total_seconds upper values weekday"
)
_STEP, _EACH, _CONCAT = "step!", "each!", "concat!"  # names no template can write


class _Each:
    """What a loop goes over, with a charge for each pass."""

    def __init__(self, items: Any, meter: Meter) -> None:
        self._items = items
        self._meter = meter

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            self._meter.charge()
            yield item

    def __len__(self) -> int:
        return len(self._items)


class _Guards(NodeTransformer):
    """Puts a check where jinja2 compiles to a bare Python operation."""

    def _wrapped(self, name: str, node: Any) -> nodes.Filter:
        return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)

    def _checked(self, node: Any) -> nodes.Filter:
        return self._wrapped(_STEP, self.generic_visit(node))

    visit_List = visit_Dict = _checked  # noqa: N815 - the visitor's protocol

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return node if node.ctx != "load" else self._wrapped(_STEP, node)

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.iter = self._wrapped(_EACH, node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return self._wrapped(_CONCAT, nodes.List(node.nodes, lineno=node.lineno))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = self._wrapped(_STEP, node.expr)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return self._wrapped(_STEP, node) if isinstance(node.arg, nodes.Slice) else node


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox with the meter on everything."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined,
            keep_trailing_newline=True,
            optimized=False,
            cache_size=0,
            finalize=pass_context(lambda _, value: self.bounded(value)),
        )
        self.meter = Meter()
        self._methods = frozenset(_METHODS.split())
        self.meter.start()
        self.globals.pop("lipsum")
        self.filters = {name: self._metered(self.filters[name], name) for name in _FILTERS.split()}
        self.filters["tojson"] = self._metered(_tojson, "tojson")
        self.filters[_STEP] = self.bounded
        self.filters[_EACH] = lambda items: _Each(items, self.meter)
        self.filters[_CONCAT] = lambda parts: self.concat(map(str, parts))
        tests: dict[str, Any] = dict(self.tests)
        self.tests = {name: self._metered(test, name) for name, test in tests.items()}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Guards().visit(super()._parse(source, name, filename))
        tree.set_environment(self)
        return tree

    def bounded(self, value: Any) -> Any:
        """The value, if it is not too large; an iterator as the list of what it gives."""
        if isinstance(value, Iterator):
            value = list(islice(value, MAX_SIZE // ITEM_SIZE + 1))
        self.meter.charge(extent(value))
        return value

    def concat(self, parts: Iterable[str]) -> str:
        """The parts together, if they are not too large: every buffer and the output."""
        held = []
        size = 0
        for part in parts:
            size += len(part)
            self.meter.charge(size if size > MAX_SIZE else 0)
            held.append(part)
        return "".join(held)

    def _metered(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        estimate = ESTIMATES.get(name)

        @functools.wraps(function)
        def metered(*args: Any, **kwargs: Any) -> Any:
            given = [arg for arg in args if not isinstance(arg, Context)]
            self.meter.charge(sum(argument_size(arg) for arg in (*given, *kwargs.values())))
            if estimate is not None:
                values = [arg for arg in given if not hasattr(arg, "autoescape")]
                self.meter.charge(estimate(*values, **kwargs))
            return self.bounded(function(*args, **kwargs))

        return metered

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.meter.charge(sum(argument_size(arg) for arg in (*args, *kwargs.values())))
        estimate = METHOD_ESTIMATES.get(getattr(obj, "__name__", ""))
        if estimate is not None and isinstance(getattr(obj, "__self__", None), str):
            self.meter.charge(estimate(obj.__self__, *args, **kwargs))
        return self.bounded(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str | bytes):
            raise SecurityError("text formatting with % is not offered; join values with ~")
        if operator == "*":
            self.meter.charge(product_size(left, right))
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            self.meter.charge(bits_size(left.bit_length() * abs(right)))
        return self.bounded(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:  # noqa: ARG002
        """`None`: `str.format` is not wrapped but refused, like every method not listed."""
        return None

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if callable(value) and attr not in self._methods:
            return False
        return super().is_safe_attribute(obj, attr, value)


def _tojson(value: Any, indent: int | None = None) -> str:
    """JSON as it is, for prompts: no HTML escapes, unlike jinja2's own."""
    return json.dumps(value, ensure_ascii=False, indent=indent, default=json_value)


class PromptTemplate:
    """A compiled template. May be rendered by several threads at once."""

    def __init__(self, source: str) -> None:
        """Compile `source`.

        Raises:
            ConfigurationError: It is not a template, or uses a filter that is not offered.
        """
        if len(source) > MAX_SOURCE:
            raise ConfigurationError(f"the template has more than {MAX_SOURCE:,} characters")
        self._environment = _Environment()
        try:
            self._template = self._environment.from_string(source)
        except TemplateSyntaxError as error:
            raise ConfigurationError(f"template, line {error.lineno}: {error.message}") from None
        except (RecursionError, MemoryError, SyntaxError, ValueError) as error:
            raise ConfigurationError(f"the template is too complex: {error}") from None

    def render(self, columns: Mapping[str, Any]) -> str:
        """The text for one row. `row` is all columns, unless a column has that name.

        Raises:
            ConversationError: A column is missing, or the template fails or needs too much. No
                column's content is in the message.
        """
        self._environment.meter.start()
        try:
            return self._template.render({"row": columns, **columns})
        except UndefinedError as error:
            names = quoted(columns)
            raise ConversationError(f"template: {error.message}; columns: {names}") from None
        except (LimitError, SecurityError) as error:
            raise ConversationError(f"template: {error}") from None
        except BadInputError as error:
            raise ConversationError(f"template: {error.message}") from None
        except Exception as error:  # noqa: BLE001
            # A template is a program: anything can come out of it. Messages may quote the row.
            raise ConversationError(f"template: it raised {type(error).__name__}") from None
