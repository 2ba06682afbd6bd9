"""What the source must not do: unpickle, run text, look away from a certificate."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import distilabel_endpoints

SOURCE = Path(distilabel_endpoints.__file__).parent
UNPICKLERS = {
    "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "pickle", "shelve", "_pickle",
}  # fmt: skip
RUNNERS = {"eval", "exec", "execfile"}
UNSAFE = {
    "yaml": {"load", "load_all", "full_load", "unsafe_load", "Loader", "UnsafeLoader"},
    "os": {"system", "popen"},
    "numpy": {"load"},
    "np": {"load"},
    "torch": {"load"},
    "ssl": {"_create_unverified_context", "CERT_NONE", "_create_default_https_context"},
}
FLAGS = {
    "allow_pickle": True,
    "shell": True,
    "trust_remote_code": True,
    "verify": False,
    "check_hostname": False,
}
"""Arguments and attributes, and the value that they must never be given."""


def offences(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines and what is wrong with them."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Import(names=names):
                yield from ((line, n.name) for n in names if n.name.split(".")[0] in UNPICKLERS)
            case ast.ImportFrom(module=str(module), names=names):
                if module.split(".")[0] in UNPICKLERS:
                    yield line, module
                yield from ((line, n.name) for n in names if n.name in UNSAFE.get(module, ()))
            case ast.Call(func=ast.Name(id=name)) if name in RUNNERS:
                yield line, name
            case ast.Call(func=ast.Name(id="__import__")):
                yield line, "__import__"
            case ast.Attribute(value=ast.Name(id=module), attr=name):
                if name in UNSAFE.get(module, ()):
                    yield line, f"{module}.{name}"
            case ast.keyword(arg=str(name), value=ast.Constant(value=value)):
                if name in FLAGS and value is FLAGS[name]:
                    yield line, f"{name}={value}"
            case ast.Assign(targets=[ast.Attribute(attr=name)], value=ast.Constant(value=value)):
                if name in FLAGS and value is FLAGS[name]:
                    yield line, f".{name} = {value}"


@pytest.mark.promise("S6")
@pytest.mark.promise("S11")
@pytest.mark.promise("S12")
def test_the_source_has_none_of_it() -> None:
    """No unpickling, no evaluation, no shell, no remote code, no unverified TLS, in any module."""
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 50
    found = [
        f"{path.relative_to(SOURCE)}:{line}: {what}"
        for path in files
        for line, what in offences(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import dill as d",
        "import os, shelve",
        "eval('1')",
        "def f():\n    exec(x)",
        "yaml.load(text)",
        "yaml.load(text, yaml.UnsafeLoader)",
        "from yaml import unsafe_load",
        "subprocess.run(x, shell=True)",
        "load(x, trust_remote_code=True)",
        "httpx2.get(u, verify=False)",
        "context.check_hostname = False",
        "context.verify_mode = ssl.CERT_NONE",
        "np.load(f, allow_pickle=True)",
        "__import__(name)",
        "os.system(command)",
    ],
)
def test_each_of_it_would_be_found(text: str) -> None:
    """The search above is not blind."""
    assert list(offences(ast.parse(text)))


@pytest.mark.parametrize(
    "text", ["yaml.safe_load(text)", "re.compile(x)", "x.check_hostname = True", "f(shell=False)"]
)
def test_what_is_harmless_is_let_pass(text: str) -> None:
    """Nor does it cry at everything."""
    assert not list(offences(ast.parse(text)))
