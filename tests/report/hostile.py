"""Texts that try to be more than text on a page, and a run that is full of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distilabel_endpoints import InferenceEndpointsLLM
from distilabel_endpoints.dataset import generate_dataset
from distilabel_endpoints.progress import open_progress
from distilabel_endpoints.testing import SimulatedEndpoint
from distilabel_endpoints.testing.answer_request import AnswerRequest

__all__ = ["BEACON", "HOSTILE", "hostile_run"]

BEACON = "http://127.0.0.1:9/beacon"
HOSTILE = (
    "<script>document.title = 'owned'; fetch('" + BEACON + "')</script>",
    "</pre></details></style></title><script src='" + BEACON + "'></script>",
    "<img src=x onerror=\"document.title='owned'\"><svg onload=alert(1)>",
    "\"><iframe src='javascript:document.title=1'></iframe>",
    "' onmouseover='document.title=1' x='",
    "<style>@import '" + BEACON + "'; * { background: url(" + BEACON + ") }</style>",
    "<meta http-equiv=refresh content='0;url=" + BEACON + "'>",
    "<base href='" + BEACON + "'><a href='javascript:alert(1)' autofocus>x</a>",
    "<link rel=stylesheet href='" + BEACON + "'><link rel=prefetch href='" + BEACON + "'>",
    "<form action='" + BEACON + "'><input autofocus onfocus=alert(1)></form>",
    "{{ 7 * 7 }}{% for x in range(9) %}x{% endfor %}{{ self.__init__ }}",
    "<!--<script>-->]]><![CDATA[<script>alert(1)</script>",
    "<xmp><noscript><textarea></textarea><script>alert(1)</script>",
    "\u202eright to left\u202c \x00\x07\x1b]0;title\x07 \ud83d\ude00 &lt;script&gt; &#60;b&#62;",
)
"""What a prompt, an answer, a column or a model may be called."""


def hostile_run(output: Path) -> Path:
    """A run whose prompts, answers, refusals, columns and model are hostile; gives its output."""
    rows: list[dict[str, Any]] = [
        {"prompt": text.encode("utf-8", "replace").decode(), f"<b>{text[:20]}": text[:9]}
        for text in HOSTILE
    ]
    rows += [{"prompt": 5, f"<script>{text}": text[:9]} for text in HOSTILE[:3]]

    def reply(request: AnswerRequest) -> str:
        return HOSTILE[len(str(request.messages)) % len(HOSTILE)]

    model = HOSTILE[1]
    with (
        SimulatedEndpoint(flavor="vllm", model=model, reply=reply) as endpoint,
        InferenceEndpointsLLM(base_url=endpoint.url, use_openai_client=True) as llm,
    ):
        generate_dataset(
            llm,
            rows,
            output,
            system=HOSTILE[0],
            on_bad_row="fail",
            progress=open_progress("quiet"),
        )
    return output
