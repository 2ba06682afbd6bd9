"""The one door to jinja2: the user's own template over a row's columns.

The template runs in jinja2's immutable sandbox, for a limited time (`template_guard`). It is a
function of its row: nothing random, no other template. A field of a row wins over a method of the
same name (`{{ order.items }}`), and what is undefined is an error wherever it hides. What can be
known from the columns is an error before the first row.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, MappingView
from difflib import get_close_matches
from typing import Any, Final

from jinja2 import (
    StrictUndefined,
    TemplateSyntaxError,
    Undefined,
    UndefinedError,
    meta,
    nodes,
)
from jinja2.defaults import DEFAULT_NAMESPACE
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from distilabel_endpoints.errors import ConfigurationError, ConversationError
from distilabel_endpoints.rows.json_text import BadInputError, json_value, quoted
from distilabel_endpoints.template_guard import (
    MAX_RENDERED,
    RENDER_SECONDS,
    OutOfTimeError,
    raises_to_a_power,
    time_limit,
)

__all__ = ["PromptTemplate"]

MAX_SOURCE: Final = 64 * 1024
"""Characters of a template."""
_PRINTED: Final = "printed"
_SINGLE_BRACES: Final = re.compile(r"(?<!\{)\{\s*(\w+)\s*\}(?!\})")


_OTHER_FILES: Final = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


_JINJAS: Final = DEFAULT_NAMESPACE.keys()


class _Undefined(StrictUndefined):
    """Raises in lists and mappings that are printed, too."""

    __repr__ = StrictUndefined.__str__


class _FieldsFirst(NodeTransformer):
    """`a.b` that is not called is the field `b`; jinja2 would take a method of that name.

    What `~` joins is checked as what is printed.
    """

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.nodes = [
            nodes.Filter(part, _PRINTED, [], [], None, None, lineno=node.lineno)
            for part in node.nodes
        ]
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:  # noqa: N802 - the visitor's protocol
        callee = node.node
        self.generic_visit(node)
        if isinstance(callee, nodes.Getattr):
            node.node = callee  # its own parts have been visited
        return node

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return nodes.Getitem(node.node, nodes.Const(node.attr), node.ctx, lineno=node.lineno)


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, without what is random and with sizes that fit into memory."""

    intercepted_binops = frozenset({"+", "*"})

    def __init__(self) -> None:
        super().__init__(
            undefined=_Undefined, keep_trailing_newline=True, cache_size=0, finalize=_shown
        )
        del self.globals["lipsum"], self.filters["random"]
        self.filters["tojson"], self.filters[_PRINTED] = _tojson, _shown

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _FieldsFirst().visit(super()._parse(source, name, filename))
        tree.set_environment(self)
        return tree

    def getitem(self, obj: Any, argument: Any) -> Any:
        value = super().getitem(obj, argument)
        is_field = isinstance(obj, Mapping) and argument in obj
        if callable(value) and not is_field and not isinstance(value, _Undefined):
            return self.undefined(obj=obj, name=argument)
        return value

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if _size_after(operator, left, right) > MAX_RENDERED:
            raise SecurityError(f"a value is larger than {MAX_RENDERED:,} characters")
        return super().call_binop(context, operator, left, right)


def _size_after(operator: str, left: Any, right: Any) -> int:
    """How long `left operator right` will be; digits count eightfold, as they cost time too."""
    if operator == "*" and isinstance(left, int) and isinstance(right, int):
        return 8 * (left.bit_length() + right.bit_length())
    if operator == "*":
        many, times = (right, left) if isinstance(left, int) else (left, right)
        return _length(many) * times if isinstance(times, int) else 0
    return _length(left) + _length(right)


def _length(value: Any) -> int:
    if isinstance(value, list | tuple):
        return 8 * len(value)  # a place in a list takes eight bytes
    return len(value) if isinstance(value, str | bytes) else 0


def _shown(value: Any) -> Any:
    # `{{ 'x' if y }}` is jinja2's lenient Undefined when y is false, and prints nothing.
    if value is None:
        raise SecurityError("a null is printed; write {{ NAME or '' }} if it may be left out")
    if isinstance(value, str | Undefined):
        return value
    if callable(value):
        raise SecurityError("a method or function is printed; call it, or check the field's name")
    if isinstance(value, Iterator | MappingView) or type(value).__module__.startswith("jinja2"):
        raise SecurityError(
            f"a {type(value).__name__} is printed, which is not text; add | list or | join(', ')"
        )
    return value


def _tojson(value: Any, indent: int | None = None) -> str:
    """JSON as it is, for prompts: no HTML escapes, unlike jinja2's own."""
    return json.dumps(value, ensure_ascii=False, indent=indent, default=_json_value)


def _json_value(value: Any) -> Any:
    return str(value) if isinstance(value, _Undefined) else json_value(value)


class PromptTemplate:
    """A compiled template. May be rendered by several threads at once."""

    def __init__(self, source: str) -> None:
        """Compile `source`.

        Raises:
            ConfigurationError: it is not a template, or has an operator that is not allowed.
        """
        source = source.removeprefix("\ufeff")  # Windows editors put it before the text
        if len(source) > MAX_SOURCE:
            raise ConfigurationError(f"the template has more than {MAX_SOURCE:,} characters")
        self._environment = _Environment()
        try:
            if raises_to_a_power(source):
                raise ConfigurationError("the template uses **, which is not allowed; use *")
            self._tree = self._environment.parse(source)
            if next(self._tree.find_all(_OTHER_FILES), None) is not None:
                raise ConfigurationError(
                    "the template includes, imports or extends another one, which is not allowed; "
                    "put all of it into one"
                )
            self._template = self._environment.from_string(source)
        except ConfigurationError:
            raise
        except TemplateSyntaxError as error:
            raise ConfigurationError(f"template, line {error.lineno}: {error.message}") from None
        except TemplateError as error:
            raise ConfigurationError(f"template: {error.message}") from None
        except (RecursionError, MemoryError, SyntaxError, ValueError) as error:
            raise ConfigurationError(f"the template is too complex: {error}") from None

    def check_columns(self, columns: Iterable[str]) -> None:
        """What the template needs must be among `columns`, and it must need some.

        Raises:
            ConfigurationError: it uses no column, or one that is not there.
        """
        names = tuple(columns)
        used = self._used(names)
        self._check_braces(names)
        if not used:
            raise ConfigurationError(
                "the template uses no column, so the same prompt would be sent for every row. "
                f"Write {{{{ {names[0] if names else 'prompt'} }}}}; columns: {quoted(names)}"
            )
        for name in sorted(used - {"row", *names} - self._optional()):
            near = get_close_matches(name, names, n=1)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            parted = next((n for n in names if not n.isidentifier() and name in n), None)
            if parted is not None:
                guess = f" For the column {parted!r} write {{{{ row[{parted!r}] }}}}."
            raise ConfigurationError(
                f"template: there is no column {name!r}; columns: {quoted(names)}.{guess} For a "
                f"column that only some rows have, write {{{{ {name} | default('') }}}}."
            )

    def taken(self, columns: Iterable[str]) -> frozenset[str]:
        """Those of `columns` that the template may put into the prompt."""
        names = frozenset(columns)
        used = self._used(names)
        if "row" not in used - names:
            return names & used
        fields = [
            node.arg.value
            for node in self._tree.find_all(nodes.Getitem)
            if isinstance(node.node, nodes.Name)
            and node.node.name == "row"
            and isinstance(node.arg, nodes.Const)
        ]
        mentions = [node for node in self._tree.find_all(nodes.Name) if node.name == "row"]
        return names if len(mentions) > len(fields) else names & used.union(fields)

    def _used(self, names: Iterable[str]) -> set[str]:
        """The names that are not the template's own: columns, and `row` for all of them."""
        used = meta.find_undeclared_variables(self._tree)
        # It leaves out names that jinja2 has itself, though a column of that name comes first.
        return used | {n.name for n in self._tree.find_all(nodes.Name)} & _JINJAS & set(names)

    def _check_braces(self, names: tuple[str, ...]) -> None:
        for text in self._tree.find_all(nodes.TemplateData):
            for match in _SINGLE_BRACES.finditer(text.data):
                if match[1] in names:
                    raise ConfigurationError(
                        f"template: {match[0]} is sent as it stands. Write {{{{ {match[1]} }}}} "
                        f"for the column, or {{{{ '{match[0]}' }}}} for the text itself."
                    )

    def _optional(self) -> set[str]:
        """Names that the template asks about, or has a default for."""
        names: set[str] = set()
        for node in self._tree.find_all((nodes.Test, nodes.Filter)):
            about = node.node
            if node.name in {"defined", "undefined", "default", "d"} and isinstance(
                about, nodes.Name
            ):
                names.add(about.name)
        return names

    def render(self, columns: Mapping[str, Any]) -> str:
        """The text for one row. `row` is all columns, unless a column has that name.

        Raises:
            ConversationError: A column is missing, or the template fails or takes too long. No
                column's content is in the message.
        """
        try:
            with time_limit(RENDER_SECONDS, time.thread_time):
                return self._rendered(columns)
        except OutOfTimeError:
            reason = f"took more than {RENDER_SECONDS:g} s"
            raise ConversationError(f"template: it {reason} for this row") from None
        except UndefinedError as error:
            names = quoted(columns)
            raise ConversationError(f"template: {error.message}; columns: {names}") from None
        except SecurityError as error:
            raise ConversationError(f"template: {error}") from None
        except BadInputError as error:
            raise ConversationError(f"template: {error.message}") from None
        except Exception as error:  # noqa: BLE001
            # A template is a program: anything can come out of it. Messages may quote the row.
            raise ConversationError(f"template: it raised {type(error).__name__}") from None

    def _rendered(self, columns: Mapping[str, Any]) -> str:
        parts, size = [], 0
        for part in self._template.generate({"row": columns, **columns}):
            parts.append(part)
            size += len(part)
            if size > MAX_RENDERED:
                raise SecurityError(f"the prompt has more than {MAX_RENDERED:,} characters")
        return "".join(parts)
