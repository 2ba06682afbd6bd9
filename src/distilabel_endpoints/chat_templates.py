"""Renders conversations with a model's own chat template, for `tokenizer_id`.

`transformers` loads the tokenizer and renders, in Jinja's immutable sandbox; it is imported at the
first `load_renderer`, never before, and no code from a repository is run. A template is foreign
code all the same, so it gets a budget of processor time and of output (`template_guard`).
The generation prompt is always added: an answer is a new message, as in distilabel 1.1.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints.errors import ConfigurationError, ConversationError, InstallationError
from distilabel_endpoints.template_guard import (
    MAX_RENDERED,
    RENDER_SECONDS,
    OutOfTimeError,
    raises_to_a_power,
    time_limit,
)

__all__ = ["ChatRenderer", "load_renderer"]

_RENDERING_FAILS: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
_JINJA_WORDS: Final = (
    *("a", "access", "an", "attribute", "dict", "element", "has", "is", "item", "list", "no"),
    *("not", "object", "of", "str", "the", "to", "type", "undefined", "unsafe"),
)


@dataclass(frozen=True, slots=True)
class ChatRenderer:
    """A tokenizer with a chat template. Safe to use from several threads."""

    tokenizer_id: str
    tokenizer: Any = field(repr=False)
    """A `transformers` tokenizer."""
    _: KW_ONLY
    clock: Callable[[], float] = field(default=time.thread_time, repr=False)
    """Processor time of the calling thread, in seconds."""

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """The prompt for `messages`, ending where the assistant's answer begins.

        Raises:
            ConversationError: the template refuses these messages, fails on them, takes longer
                than `RENDER_SECONDS` or writes more than `MAX_RENDERED` characters.
        """
        import jinja2

        try:
            prompt = _apply(self.tokenizer, messages, tools, self.clock)
        except OutOfTimeError:
            raise self._refusal(f"took more than {RENDER_SECONDS:g} s on it") from None
        except jinja2.TemplateError as exc:
            raise self._refusal(f"refuses it: {self._redacted(exc)}") from None
        except _RENDERING_FAILS as exc:
            raise self._refusal(f"fails on it ({type(exc).__name__})") from None
        if len(prompt) > MAX_RENDERED:
            raise self._refusal(f"writes more than {MAX_RENDERED:,} characters for it")
        return prompt

    def count_tokens(self, text: str) -> int:
        """How many tokens a rendered prompt has; special tokens in it count as one each."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _refusal(self, reason: str) -> ConversationError:
        return ConversationError(f"the chat template of {self.tokenizer_id!r} {reason}.")

    def _redacted(self, exc: Exception) -> str:
        """The template's message without the words that are not the template's own."""
        own = {*re.findall(r"\w+", self.tokenizer.get_chat_template()), *_JINJA_WORDS}
        message = re.sub(r"\w+", lambda word: word[0] if word[0] in own else "…", str(exc))
        return message[:200].rstrip(".") or type(exc).__name__


def load_renderer(tokenizer_id: str, token: str | None) -> ChatRenderer:
    """Load the tokenizer of a Hub repository or a local folder.

    Blocks: on the network for a repository that is not cached, and for about a second at the
    first call, which imports `transformers`.

    Raises:
        InstallationError: the extra `tokenizer` is not installed, or this tokenizer needs more.
        ConfigurationError: no such tokenizer, no chat template, or one that cannot be used.
    """
    tokenizer = _load_tokenizer(tokenizer_id, token)
    _check_template(tokenizer_id, tokenizer)
    return ChatRenderer(tokenizer_id, tokenizer)


def _load_tokenizer(tokenizer_id: str, token: str | None) -> Any:
    try:
        with _without_framework_notice():
            from transformers import AutoTokenizer
    except ImportError:
        raise InstallationError(
            "tokenizer_id needs transformers: pip install 'distilabel-endpoints[tokenizer]'"
        ) from None
    if tokenizer_id.startswith(("/", "./", "../", "~")) and not Path(tokenizer_id).is_dir():
        raise ConfigurationError(f"tokenizer_id {tokenizer_id!r}: there is no such folder.")
    try:
        return AutoTokenizer.from_pretrained(tokenizer_id, token=token, trust_remote_code=False)
    except ImportError as exc:
        raise InstallationError(f"tokenizer_id {tokenizer_id!r}: {_first_line(exc)}") from None
    except Exception as exc:  # noqa: BLE001 - foreign files; the parser raises bare Exceptions
        raise ConfigurationError(
            f"tokenizer_id {tokenizer_id!r} cannot be loaded: {_first_line(exc)}. It must be a "
            "folder or a Hub repository with a tokenizer, and the token must give access to it."
        ) from None


def _check_template(tokenizer_id: str, tokenizer: Any) -> None:
    """Refuse at once what could never be rendered, or could never be stopped."""
    import jinja2

    where = f"tokenizer_id {tokenizer_id!r}"
    try:
        template = tokenizer.get_chat_template()
    except ValueError:
        raise ConfigurationError(
            f"{where} has no chat template, so conversations cannot be rendered with it. Use the "
            "tokenizer of an instruction-tuned model, or leave tokenizer_id out."
        ) from None
    try:
        unstoppable = raises_to_a_power(template)
        if not unstoppable:
            _try_out(tokenizer)
    except jinja2.TemplateSyntaxError as exc:
        raise ConfigurationError(
            f"{where}: its chat template is malformed in line {exc.lineno}."
        ) from None
    except OutOfTimeError:
        raise ConfigurationError(f"{where}: its chat template does not come to an end.") from None
    if unstoppable:
        raise ConfigurationError(f"{where}: its chat template uses **, which is not allowed.")


def _try_out(tokenizer: Any) -> None:
    """Compile the template and render a greeting, which the template may well refuse."""
    import jinja2

    greeting = [{"role": "user", "content": "Hello"}]
    try:
        _apply(tokenizer, greeting, None, time.thread_time)
    except jinja2.TemplateSyntaxError:
        raise
    except (jinja2.TemplateError, *_RENDERING_FAILS):
        return


def _apply(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    clock: Callable[[], float],
) -> str:
    with time_limit(RENDER_SECONDS, clock):
        prompt: str = tokenizer.apply_chat_template(
            list(messages),
            tools=list(tools) if tools else None,
            tokenize=False,
            add_generation_prompt=True,
        )
    return prompt


@contextmanager
def _without_framework_notice() -> Iterator[None]:
    """Keep `transformers` from saying at import that there is no PyTorch: none is needed."""

    def other(record: logging.LogRecord) -> bool:
        return "PyTorch" not in record.getMessage()

    logger = logging.getLogger("transformers")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


def _first_line(exc: Exception) -> str:
    lines = str(exc).strip().splitlines() or [type(exc).__name__]
    return lines[0].rstrip(".")[:300]
