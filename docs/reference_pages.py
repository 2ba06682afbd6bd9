"""The reference pages of the site, made from the code: nothing in them is typed twice."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator

import click

from distilabel_endpoints.cli import EXIT_CODES, commands
from distilabel_endpoints.flag_values import ENVIRONMENT, Flag
from distilabel_endpoints.rows import columns

__all__ = ["PAGES"]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _flag_rows(command: click.Command, context: click.Context) -> Iterator[str]:
    group = ""
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if not isinstance(option, click.Option) or record is None:
            continue
        if isinstance(option, Flag) and option.group != group:
            group = option.group
            yield f"\n### {group}\n"
        elif not group:
            group = "Options"
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
        variable = f"{ENVIRONMENT}_{context.info_name}_{option.name}".upper()
        shown = f" · variable `{variable}`" if option.name not in {"help", "version"} else ""
        yield f"- {names}: {_cell(record[1]) or option.metavar or ''}{shown}"


def commands_page() -> str:
    """Every command with its arguments and flags, as `--help` has them."""
    parent = click.Context(commands, info_name="distilabel-endpoints")
    lines = ["# Commands and flags", "", "Made from the code. Each command also has `--help`.", ""]
    for name, command in sorted(commands.commands.items()):
        context = click.Context(command, parent, info_name=name)
        usage = " ".join(command.collect_usage_pieces(context))
        text = inspect.cleandoc(command.help or "").replace("\b\n", "\n")
        lines += ["", f"## {name}", "", f"`distilabel-endpoints {name} {usage}`", ""]
        lines += [re.sub(r"(?m)^Examples:\n((?:  .*\n?)+)", r"\n```\n\1```\n", text), ""]
        lines += list(_flag_rows(command, context))
    return "\n".join(lines)


def _fields(source: type) -> Iterator[tuple[str, str, str]]:
    """Name, type and docstring of each annotated field of a class, from its source."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(source))).body
    assert isinstance(body, ast.ClassDef)
    for field, following in zip(body.body, [*body.body[1:], ast.Pass()], strict=True):
        if isinstance(field, ast.AnnAssign):
            said = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            text = str(following.value.value) if said else ""  # type: ignore[attr-defined]
            yield ast.unparse(field.target), ast.unparse(field.annotation), text


def parameters_page() -> str:
    """Every generation parameter, and which client and path sends it under which name."""
    from distilabel_endpoints._clients.parameters import PARAMETERS
    from distilabel_endpoints.dataset import GenerationParameters

    lines = [
        "# Generation parameters",
        "",
        "For `generate`, `generate_dataset` and `generation_kwargs`, and for `--param NAME=JSON`.",
        "What a server takes, `llm.describe()` says.",
        "",
        "| parameter | type | meaning |",
        "|---|---|---|",
    ]
    for name, kind, text in _fields(GenerationParameters):
        lines.append(f"| `{name}` | `{_cell(kind)}` | {_cell(text)} |")
    names = ", ".join(f"`{name}`" for name in sorted(PARAMETERS))
    return "\n".join([*lines, "", f"Known to the clients: {names}."])


def columns_page() -> str:
    """Every column that is added: the table at the top of the code that adds them."""
    table = re.findall(r"^\|.*$", columns.__doc__ or "", re.MULTILINE)
    after = (columns.__doc__ or "").rpartition("|\n")[2]
    lines = ["# Columns", "", "Added after the input's columns, which stay as they are.", ""]
    return "\n".join([*lines, *table, "", after])


def exit_codes_page() -> str:
    """What commands exit with, and which variables are read."""
    lines = ["# Exit codes and variables", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    generate = commands.commands["generate"]
    flags = [f for f in generate.params if isinstance(f, Flag)]
    lines += ["", "## Variables", "", "| variable | sets |", "|---|---|"]
    lines += [
        f"| `{ENVIRONMENT}_GENERATE_{str(f.name).upper()}` | `{max(f.opts, key=len)}` |"
        for f in flags
    ]
    lines += [
        "| `HF_TOKEN` | the token for Hugging Face's hosts and this machine |",
        "| `HF_ENDPOINT`, `HF_HOME` | as `huggingface_hub` reads them |",
        "| `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY` | the road to a host |",
        "| `NO_COLOR` | the display without colours |",
    ]
    return "\n".join(lines)


_PYTHON = {
    "The LLM": ["distilabel_endpoints.llms.huggingface.InferenceEndpointsLLM"],
    "Datasets": [
        "distilabel_endpoints.dataset.generate_dataset",
        "distilabel_endpoints.dataset.FinishedRun",
    ],
    "What comes back": ["distilabel_endpoints.llms.outputs", "distilabel_endpoints.run_state"],
    "Errors": ["distilabel_endpoints.errors"],
    "Local model": ["distilabel_endpoints.local.LocalEndpoint"],
}


def python_page() -> str:
    """The public names, whose docstrings mkdocstrings puts in."""
    lines = ["# Python", "", "Made from the docstrings.", ""]
    for title, names in _PYTHON.items():
        lines += ["", f"## {title}", *(f"\n::: {name}" for name in names)]
    return "\n".join(lines)


PAGES: dict[str, Callable[[], str]] = {
    "commands": commands_page,
    "python": python_page,
    "parameters": parameters_page,
    "columns": columns_page,
    "exit-codes": exit_codes_page,
}
