"""What is left behind when objects go: nothing, in scripts, forks and at the interpreter's end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from command import run_code

from distilabel_endpoints.testing import Latency, Limits, SimulatedEndpoint

Make = Callable[..., SimulatedEndpoint]

PRELUDE = """
import asyncio, gc, os, sys, threading
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
URL = sys.argv[1]
HELLO = [{"role": "user", "content": "Hello world!"}]
"""


def run_script(url: str, body: str) -> str:
    """Run a script in which every warning is an error; its output, if it ends well and soon."""
    done = run_code(PRELUDE + body, url)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return str(done.stdout)


@pytest.mark.parametrize("client", [False, True])
def test_a_script_that_never_closes_ends_by_itself(simulated_endpoint: Make, client: bool) -> None:
    """The documented calls, no `close`: exit 0, no warning, nothing on stderr."""
    out = run_script(
        simulated_endpoint().url,
        f"""
llm = InferenceEndpointsLLM(base_url=URL, use_openai_client={client})
llm.load()
print(len(llm.generate(inputs=[HELLO] * 3)))
async def main():
    return await llm.agenerate(input=HELLO)
print(len(asyncio.run(main())))
""",
    )
    assert out.split() == ["3", "1"]


FOREIGN_LOOPS = """
class Handle:
    def __init__(self, timer):
        self.cancel = timer.cancel
class ForeignLoop(asyncio.SelectorEventLoop):
    def call_at(self, when, callback, *arguments, context=None):
        return Handle(super().call_at(when, callback, *arguments, context=context))
class Policy(asyncio.DefaultEventLoopPolicy):
    _loop_factory = ForeignLoop
asyncio.set_event_loop_policy(Policy())
"""


def test_a_program_with_loops_of_another_kind_keeps_them(simulated_endpoint: Make) -> None:
    """`generate` and `agenerate` under another loop policy, over an endpoint that refuses."""
    out = run_script(
        simulated_endpoint(
            slots=2, latency=Latency(0.02, sigma=0.8), limits=Limits(queue=0), log=False
        ).url,
        f"""
{FOREIGN_LOOPS}
async def main(llm):
    answers = await asyncio.gather(*(llm.agenerate(input=HELLO) for _ in range(40)))
    return type(asyncio.get_running_loop()), answers
with InferenceEndpointsLLM(base_url=URL) as llm:
    kind, answers = asyncio.run(main(llm))
    print(kind.__name__, sum(isinstance(answer[0], str) for answer in answers))
    print(sum(isinstance(row[0], str) for row in llm.generate([HELLO] * 40)))
""",
    )
    assert out.split() == ["ForeignLoop", "40", "40"]


def test_a_dropped_object_takes_its_thread_along(simulated_endpoint: Make) -> None:
    """When the last object is collected, loop and connections go too."""
    out = run_script(
        simulated_endpoint().url,
        """
llm = InferenceEndpointsLLM(base_url=URL)
llm.generate([HELLO])
before = threading.active_count()
del llm
gc.collect()
print(before - threading.active_count())
""",
    )
    assert out.split() == ["1"]


def test_a_forked_child_starts_anew(simulated_endpoint: Make) -> None:
    """A loaded object works in a forked child, and in the parent after it."""
    out = run_script(
        simulated_endpoint().url,
        """
llm = InferenceEndpointsLLM(base_url=URL)
first = llm.generate([HELLO])
sys.stdout.flush()
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any fork with threads
child = os.fork()
if child == 0:
    print(llm.generate([HELLO]) == first, flush=True)
    llm.close()
    os._exit(0)
os.waitpid(child, 0)
print(llm.generate([HELLO]) == first)
llm.close()
print(threading.active_count())
""",
    )
    assert out.split() == ["True", "True", "1"]


def test_an_interrupted_generate_cancels_its_requests(simulated_endpoint: Make) -> None:
    """Ctrl-C in a blocked `generate` leaves nothing in flight; the object still works."""
    from distilabel_endpoints.testing import Latency

    endpoint = simulated_endpoint(latency=Latency(0.5))
    out = run_script(
        endpoint.url,
        """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # may have been ignored
llm = InferenceEndpointsLLM(base_url=URL, max_concurrency=4)
llm.load()
threading.Timer(1.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    llm.generate([HELLO] * 1000)
except KeyboardInterrupt:
    print("interrupted", llm.statistics().limiter.in_flight)
print(len(llm.generate([HELLO])))
""",
    )
    assert out.split() == ["interrupted", "0", "1"]


def test_a_cancelled_agenerate_cancels_its_request(simulated_endpoint: Make) -> None:
    """Cancelling the caller's task cancels the attempt on the engine's loop."""
    from distilabel_endpoints.testing import Latency

    endpoint = simulated_endpoint(latency=Latency(30))
    out = run_script(
        endpoint.url,
        """
llm = InferenceEndpointsLLM(base_url=URL)
async def main():
    try:
        async with asyncio.timeout(0.5):
            await llm.agenerate(HELLO)
    except TimeoutError:
        print(llm.statistics().limiter.in_flight)
asyncio.run(main())
""",
    )
    assert out.split() == ["0"]
