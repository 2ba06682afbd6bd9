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
    takes_parts: bool = field(default=True, repr=False)
    """Whether the template understands content as a list of parts."""
    adds_bos: bool = field(default=False, repr=False)
    """Whether the tokenizer puts its first token before every text."""

    def prompt(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """What to send for `messages`: as rendered, without the first token if a server adds it.

        Servers tokenize a prompt as the tokenizer does by default; with the template's own first
        token before it, the model would see two.
        """
        prompt = self.render(messages, tools, variables)
        return prompt.removeprefix(self.tokenizer.bos_token) if self.adds_bos else prompt

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """What the template makes of `messages`, ending where the assistant's answer begins.

        Args:
            messages: a conversation.
            tools: definitions that the template is given.
            variables: further ones of the template, as `chat_template_kwargs` has them.

        Raises:
            ConversationError: the template refuses these messages, fails on them, takes longer
                than `RENDER_SECONDS` or writes more than `MAX_RENDERED` characters.
        """
        import jinja2

        if not self.takes_parts:
            messages = [self._joined(message) for message in messages]
        try:
            prompt = _apply(self.tokenizer, messages, tools, self.clock, variables)
        except OutOfTimeError:
            raise self._refusal(f"took more than {RENDER_SECONDS:g} s on it") from None
        except jinja2.TemplateError as exc:
            raise self._refusal(f"refuses it: {self._redacted(exc)}") from None
        except _RENDERING_FAILS as exc:
            raise self._refusal(f"fails on it ({type(exc).__name__})") from None
        if len(prompt) > MAX_RENDERED:
            raise self._refusal(f"writes more than {MAX_RENDERED:,} characters for it")
        return prompt

    def _joined(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """A message whose text parts are one text, a line each, as servers join them."""
        content = message.get("content")
        if not isinstance(content, list):
            return message
        if any(part.get("type") != "text" for part in content):
            raise self._refusal("takes text only, and a message has other parts")
        return {**message, "content": "\n".join(part["text"] for part in content)}

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
    return ChatRenderer(
        tokenizer_id, tokenizer, takes_parts=_takes_parts(tokenizer), adds_bos=_adds_bos(tokenizer)
    )


def _takes_parts(tokenizer: Any) -> bool:
    """Whether a part's text comes out as text: other templates print the list, or fail on it."""
    import jinja2

    parts = [{"type": "text", "text": "greeting"}]
    try:
        shown = _apply(tokenizer, [{"role": "user", "content": parts}], None, time.thread_time)
    except (jinja2.TemplateError, OutOfTimeError, *_RENDERING_FAILS):
        return False
    return "greeting" in shown and "'type'" not in shown and '"type"' not in shown


def _adds_bos(tokenizer: Any) -> bool:
    if tokenizer.bos_token is None:
        return False
    return bool(tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id])


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
    variables: Mapping[str, Any] | None = None,
) -> str:
    with time_limit(RENDER_SECONDS, clock):
        prompt: str = tokenizer.apply_chat_template(
            list(messages),
            tools=list(tools) if tools else None,
            tokenize=False,
            add_generation_prompt=True,
            **(variables or {}),
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
