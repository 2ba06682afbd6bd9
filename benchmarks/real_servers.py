"""Real servers and gateways on this machine: vLLM, transformers serve, LiteLLM, nginx, haproxy.

    .venv/bin/python -m benchmarks.real_servers vllm       # brings one up until Ctrl-C

Each is a context manager that gives a `RealServer`; all listen on loopback only. The Python servers
run in environments that `benchmarks.environments` makes once (vLLM's takes about ten minutes and
4 GB); nginx and haproxy are the distribution's (`apt-get install nginx haproxy`). vLLM and
transformers serve the model of the demo, SmolLM2-135M-Instruct, made into a Hugging Face folder
once from its GGUF file.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import yaml

from benchmarks.environments import ROOT, python_of
from distilabel_endpoints.local import find_default_model

__all__ = [
    "MASTER_KEY",
    "MODEL",
    "RealServer",
    "haproxy",
    "is_installed",
    "litellm",
    "nginx",
    "transformers_serve",
    "vllm",
    "vllm_run_batch",
]

MODEL: Final = "smollm2"
"""The name under which vLLM and LiteLLM serve the model."""
MASTER_KEY: Final = "sk-master-of-the-test-proxy"
_CONTEXT: Final = 2048
_START: Final = 600.0
"""Seconds for a server to listen: vLLM takes 24 to 53 s on two quiet cores."""


@dataclass(slots=True)
class RealServer:
    """A server that runs, and can be killed and started again on the same port."""

    base_url: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: IO[bytes]
    model: str | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it and wait until its port is open. RuntimeError, with its log, if it ends."""
        self.process = subprocess.Popen(
            self.command,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        address = self.base_url.split("://")[1].split("/")[0].split(":")
        deadline = time.monotonic() + _START
        while not _is_open(address[0], int(address[1])):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.command[0]} does not listen:\n{self._last_words()}")
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL to it and all that it started."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _last_words(self) -> str:
        self.log.flush()
        return Path(self.log.name).read_text(errors="replace")[-3000:]


def is_installed(command: str) -> bool:
    """Whether the distribution's program is here; nginx lies beside what a user's PATH has."""
    return _program(command) is not None


@contextmanager
def nginx(upstream: str, server: str, *, http: str = "") -> Iterator[RealServer]:
    """nginx before `upstream`.

    Args:
        upstream: the URL that `$upstream` stands for in `server`.
        server: the directives of its one `server` block, but for `listen`'s address (`LISTEN`).
        http: further directives of the `http` block, such as zones.
    """
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder:
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        server = server.replace("LISTEN", f"127.0.0.1:{port}").replace("$upstream", upstream)
        config = Path(folder, "nginx.conf")
        config.write_text(
            f"daemon off; worker_processes 1; pid {folder}/pid; error_log stderr;"
            "events { worker_connections 512; }\n"
            # Bodies stay in memory: its worker may not be allowed to write into this folder.
            f"http {{ access_log off; client_body_buffer_size 8m; {paths} {http}\n"
            f" server {{ {server} }} }}\n"
        )
        command = [_program("nginx") or "nginx", "-p", folder, "-c", str(config), "-e", "stderr"]
        scheme = "https" if " ssl;" in server else "http"
        with _running(f"{scheme}://127.0.0.1:{port}", command) as started:
            yield started


@contextmanager
def haproxy(upstream: str, backend: str) -> Iterator[RealServer]:
    """haproxy before `upstream`; `backend` are the directives of its backend but for the server.

    `MAXCONN n` there is how many requests the server gets at once.
    """
    port, host = _free_port(), upstream.split("://")[1]
    lines = [line.strip() for line in backend.splitlines() if line.strip()]
    most = next((line.split()[1] for line in lines if line.startswith("MAXCONN")), "64")
    kept = "\n  ".join(line for line in lines if not line.startswith("MAXCONN"))
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as config:
        config.write(
            f"defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n"
            f"  timeout server 60s\nfrontend f\n  bind 127.0.0.1:{port}\n"
            f"  default_backend b\nbackend b\n  {kept}\n  server s {host} maxconn {most}\n"
        )
        config.flush()
        command = [_program("haproxy") or "haproxy", "-db", "-f", config.name]
        with _running(f"http://127.0.0.1:{port}", command) as started:
            yield started


@contextmanager
def litellm(upstream: str, served: str, **router: object) -> Iterator[RealServer]:
    """LiteLLM's proxy before an OpenAI-compatible `upstream` (its URL without `/v1`).

    Args:
        upstream: where the model `served` is.
        served: the model's name there; here it is `MODEL`.
        router: of the `model_list` entry's `litellm_params` (`rpm=60`), or, with a name of
            LiteLLM's `router_settings`, of these (`provider_budget_config={...}`).
    """
    budget = router.pop("provider_budget_config", None)
    parameters = {
        "model": f"openai/{served}",
        "api_base": f"{upstream}/v1",
        "api_key": "none",
        **router,
    }
    settings: dict[str, object] = {
        "num_retries": 0,
        "optional_pre_call_checks": ["enforce_model_rate_limits"],
    }
    if budget is not None:
        settings["provider_budget_config"] = budget
    config = {
        "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
        "router_settings": settings,
        "litellm_settings": {"num_retries": 0, "telemetry": False},
        "general_settings": {"master_key": MASTER_KEY},
    }
    port, program = _free_port(), python_of("litellm-proxy").with_name("litellm")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(config, file)
        file.flush()
        command = [
            *(str(program), "--config", file.name),
            *("--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"),
        ]
        environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
        with _running(f"http://127.0.0.1:{port}", command, environment, MODEL) as started:
            yield started


@contextmanager
def vllm(*arguments: str) -> Iterator[RealServer]:
    """vLLM's CPU build; `arguments` go to `vllm serve`."""
    port = _free_port()
    command = [
        *_vllm_command("serve", str(_model_folder("vllm"))),
        *("--host", "127.0.0.1", "--port", str(port), *_VLLM_MODEL, *arguments),
    ]
    with _running(f"http://127.0.0.1:{port}", command, _VLLM_SETTINGS, MODEL) as started:
        yield started


def vllm_run_batch(source: Path, output: Path) -> None:
    """`vllm run-batch` over a batch file, with the same model and settings as `vllm`."""
    command = [
        *_vllm_command("run-batch", "--model", str(_model_folder("vllm"))),
        *("-i", str(source), "-o", str(output), *_VLLM_MODEL),
    ]
    quiet = subprocess.DEVNULL
    with tempfile.TemporaryDirectory(prefix="server-", ignore_cleanup_errors=True) as folder:
        subprocess.run(
            command,
            check=True,
            env={**os.environ, **_VLLM_SETTINGS, "TMPDIR": folder},
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
        )


_VLLM_MODEL: Final = (
    *("--served-model-name", MODEL, "--max-model-len", str(_CONTEXT), "--enforce-eager"),
    # A seeded prompt that is prefilled in pieces kills the CPU engine.
    *("--max-num-batched-tokens", "16384"),
)
_VLLM_SETTINGS: Final = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}


def _vllm_command(*words: str) -> list[str]:
    return [str(python_of("vllm")), "-m", "vllm.entrypoints.cli.main", *words]


@contextmanager
def transformers_serve(*arguments: str) -> Iterator[RealServer]:
    """`transformers serve`; its model is named as the folder that it is read from.

    `arguments` go to the command: with the folder's name it serves that model and no other.
    """
    environment = "transformers-serve"
    folder, port = _model_folder(environment), _free_port()
    program = python_of(environment).with_name("transformers")
    command = [str(program), "serve", "--host", "127.0.0.1", "--port", str(port), *arguments]
    settings = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    with _running(f"http://127.0.0.1:{port}", command, settings, str(folder)) as started:
        yield started


@contextmanager
def _running(
    base_url: str,
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    model: str | None = None,
) -> Iterator[RealServer]:
    # A server that is killed leaves its sockets; they go with its folder.
    with (
        tempfile.TemporaryDirectory(prefix="server-", ignore_cleanup_errors=True) as folder,
        (Path(folder) / "log").open("w+b") as log,
    ):
        settings = {"TMPDIR": folder, **(environment or {})}
        server = RealServer(base_url, command, settings, log, model)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def _model_folder(environment: str) -> Path:
    """The demo's model as a Hugging Face folder in an environment, with its tokenizer and its chat
    template."""
    folder = ROOT / environment / MODEL
    if not (folder / "config.json").is_file():
        making = folder.with_name(f"{MODEL}.new")
        shutil.rmtree(making, ignore_errors=True)
        gguf = find_default_model()
        quiet = {**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
        command = [str(python_of(environment)), "-c", _CONVERT, str(gguf), str(making)]
        subprocess.run(command, check=True, env=quiet)
        making.rename(folder)
    return folder


_CONVERT: Final = """
import sys
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer

gguf, folder = map(Path, sys.argv[1:])
model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
# The weights are plain numbers by now; what says otherwise would forbid to save them.
model.hf_quantizer = None
del model.config.quantization_config
model.save_pretrained(folder)
AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_open(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def _program(command: str) -> str | None:
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def main() -> None:
    """Bring one up, print its URL, and wait for Ctrl-C."""
    starts = {"vllm": vllm, "transformers": transformers_serve}
    with starts[sys.argv[1]]() as server:
        print(server.base_url, server.model, flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
