"""Secrets: their values are refused where they would be written, and passed on by name where something is launched."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import InputError
from planner.files import redaction as secrets
from planner.files.redaction import is_private, is_secret, private_log, redact, redact_log
from planner.launch.runs import service_runs, trial_runs
from planner.service.export.docker_script import run_sh
from planner.service.export.kinds import ExportKind, exported
from planner.study.problem import Problem
from planner.tuning.search.search import Search
from planner.tuning.search.store import definition
from tests.forecasts import forecast_of

Make = Callable[..., Problem]
VALUE = "hf_0123456789abcdef"


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "VLLM_API_KEY", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "PASSWORD",
        "PGPASSWORD", "GITHUB_PAT", "SECRET_KEY", "APIKEY", "OPENAI_KEY", "AZURE_STORAGE_KEY", "PRIVATE_KEY",
        "MYSQL_PWD", "HF_TOKEN_2", "S3_ACCESS_KEY_ID", "SSH_PASSPHRASE", "BASIC_AUTH", "DB_PASS",
        "GOOGLE_APPLICATION_CREDENTIALS", "HF_TOKEN_VALUE", "TOKEN_STAGING", "HUB_ACCESS_TOKEN_READ", "API_KEY_PROD",
        "POSTGRES_PW", "AWS_CREDS", "SENTRY_DSN", "SLACK_WEBHOOK_URL", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_SAS",
        "SESSION_COOKIE", "MY_JWT", "OTP_SEED",
    ],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)
    assert is_secret(name.lower())


@pytest.mark.parametrize(
    "name",
    [
        "TOKENIZERS_PARALLELISM", "VLLM_MAX_TOKENS", "HF_HOME", "VLLM_API_KEY_FILE", "NCCL_SECRETARY", "KEY", "PWD",
        "OLDPWD", "XAUTHORITY", "VLLM_BYPASS_CHECK", "NVIDIA_PASSTHROUGH", "COMPAT", "AUTHOR", "VLLM_AUTOTUNE",
        "LONG_PREFILL_TOKEN_THRESHOLD", "MAX_PROMPT_ADAPTER_TOKEN", "VLLM_MAX_TOKENS_PER_EXPERT", "HF_TOKEN_PATH",
        "RETURN_TOKENS_AS_TOKEN_IDS", "TOKENIZER", "SASL", "DSNAME",
    ],
)  # fmt: skip
def test_names_of_none(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    "engine",
    [
        {"extra_args": ["--allow-credentials", "--ssl-keyfile", "/key.pem", "--tokenizer", "a/b"]},
        {
            "extra_args": [
                "--hf-overrides",
                '{"eos_token": "</s>", "max_tokens": 3}',
                "--allowed-origins",
                '["http://a"]',
            ]
        },
        {"extra_args": ["--max-num-batched-tokens=4096"]},
        {"command": ["bash", "-c", "HF_TOKEN=$MY_TOKEN VLLM_USE_V1=0 exec vllm serve $0"]},
        {"env": {"HTTPS_PROXY": "http://proxy:3128", "VLLM_ATTENTION_BACKEND": "XFORMERS"}},
    ],
)
def test_what_only_sounds_like_a_secret_is_taken(make_problem: Make, engine: dict[str, Any]) -> None:
    assert make_problem(**{f"engine__{key}": value for key, value in engine.items()})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine__env": {"HF_TOKEN": VALUE}}, r"env.HF_TOKEN: .* name it in pass_env instead: \[HF_TOKEN\]"),
        ({"engine__extra_args": ["--api-key", VALUE]}, r"extra_args: --api-key: .* pass_env: \[VLLM_API_KEY\]"),
        ({"engine__extra_args": [f"--hf_token={VALUE}"]}, r"extra_args: --hf_token: .* pass_env: \[HF_TOKEN\]"),
        ({"search_space": {"search": {"env.HF_TOKEN": [VALUE]}}}, "env.HF_TOKEN"),
        ({"engine__env": {"HTTPS_PROXY": f"http://u:{VALUE}@proxy:3128"}}, r"env.HTTPS_PROXY: .* pass_env"),
        ({"engine__env": {"DATABASE_URL": f"postgres://u:{VALUE}@h/d"}}, r"env.DATABASE_URL: .* pass_env"),
        ({"engine__extra_args": ["--api-ke", VALUE]}, r"extra_args: --api-ke: .* pass_env: \[VLLM_API_KEY\]"),
        ({"engine__extra_args": ["--ssl-keyfile-password", VALUE]}, r"extra_args: --ssl-keyfile-password: "),
        ({"engine__env": {"STORE": f"https://h/b?X-Amz-Signature={VALUE}"}}, r"env.STORE: .* pass_env"),
        ({"engine__env": {"STORE": "hf_" + "a1B2" * 9}}, r"env.STORE: .* pass_env"),
        ({"engine__env": {"STORE": f'{{"headers": {{"x-api-key": "{VALUE}"}}}}'}}, r"env.STORE: .* pass_env"),
        ({"search_space": {"search": {"env.STORE": ["plain", f"https://u:{VALUE}@h"]}}}, "env.STORE"),
        ({"engine__extra_args": ["--x", f"https://h/x?sig={VALUE}"]}, "extra_args: a value: holds a key"),
        ({"engine__extra_args": ["--x", f'{{"Authorization": "{VALUE}"}}']}, "extra_args: Authorization in JSON"),
        ({"engine__extra_args": ["--x", f'{{"url": "redis://:{VALUE}@h/0"}}']}, "extra_args: a value: holds a key"),
        ({"engine__command": ["bash", "-c", f"vllm serve --api-key {VALUE}"]}, "command: --api-key: "),
        ({"engine__command": ["docker", "run", f"-eHF_TOKEN={VALUE}"]}, "command: HF_TOKEN=...: "),
        ({"engine__command": ["docker", "run", f"--env=HF_TOKEN={VALUE}"]}, "command: HF_TOKEN=...: "),
        ({"engine__command": ["bash", "-c", f"curl http://u:{VALUE}@h; vllm serve"]}, "command: a URL with a user"),
        (
            {"engine__extra_args": ["--model-loader-extra-config", f'{{"token": "{VALUE}"}}']},
            "extra_args: token in JSON",
        ),
        (
            {"engine__extra_args": [f'--kv-transfer-config={{"a": [{{"password": "{VALUE}"}}]}}']},
            "extra_args: password in",
        ),
        ({"engine__extra_args": ["--download-dir", f"s3://u:{VALUE}@host/x"]}, "extra_args: a URL"),
        ({"engine__command": ["bash", "-c", f"A=1 HF_TOKEN={VALUE} vllm serve $0"]}, r"command: HF_TOKEN=\.\.\.: "),
        ({"engine__command": ["vllm", "serve", f"--api-key={VALUE}"]}, "command: --api-key: "),
        ({"engine__env": {"A": "1"}, "engine__pass_env": ["A"]}, "pass_env: A is under env too"),
        ({"engine__pass_env": ["A=1"]}, "pass_env"),
    ],
)
def test_a_study_with_a_secret_in_it_is_refused(make_problem: Make, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        make_problem(**changes)
    assert VALUE not in str(caught.value)


@pytest.fixture
def problem(make_problem: Make, monkeypatch: pytest.MonkeyPatch) -> Problem:
    monkeypatch.setenv("HF_TOKEN", VALUE)
    return make_problem(engine__pass_env=["HF_TOKEN"])


def test_no_export_and_no_record_has_the_value(problem: Problem, launch: Any, storage: str) -> None:
    trial = launch(problem)[0]
    for kind in get_args(ExportKind):
        text = exported(kind, forecast_of(problem), trial, None, Path("ladder.yaml"))
        assert VALUE not in text, kind
        assert "HF_TOKEN" in text, kind
    search = Search.open(forecast_of(problem), storage)
    number, _ = search.ask() or (0, None)
    assert number == trial.number
    search.tell(trial)
    assert VALUE not in msgspec.json.encode([definition(problem), search.trials()]).decode()


def test_what_is_launched_has_the_value(problem: Problem) -> None:
    for run in (*trial_runs(problem, problem.default, 0), *service_runs(problem, problem.default)):
        assert run.to_docker_kwargs()["environment"]["HF_TOKEN"] == VALUE
        assert run.argv()[run.argv().index("HF_TOKEN") - 1] == "-e"


def test_a_variable_that_is_not_set_is_named(problem: Problem, launch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match=r"engine\.pass_env: HF_TOKEN is not set here"):
        trial_runs(problem, problem.default, 0)[0].to_docker_kwargs()
    script = run_sh(problem, launch(problem)[0], None)
    ended = subprocess.run(
        ["bash"],
        input=script,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode != 0
    assert "HF_TOKEN: is not set, the engine needs it" in ended.stderr


def test_a_study_goes_on_when_it_passes_a_variable(make_problem: Make) -> None:
    assert definition(make_problem()) == definition(make_problem(engine__pass_env=["HF_TOKEN"]))


# --- words without them -----------------------------------------------------------------------------------------------


def test_values_are_replaced_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", 'hf_"quoted"/+')
    monkeypatch.setenv("OTHER_TOKEN", 'hf_"quoted"/+and-more')
    monkeypatch.setenv("SHORT_TOKEN", "EMPTY")
    monkeypatch.setenv("PLACE", "/var/lib/place")
    text = (
        'a hf_"quoted"/+and-more b hf_"quoted"/+ c hf_\\"quoted\\"/+ d hf_%22quoted%22%2F%2B e EMPTY f /var/lib/place'
    )
    assert redact(text) == ("a <OTHER_TOKEN> b <HF_TOKEN> c <HF_TOKEN> d <HF_TOKEN> e EMPTY f /var/lib/place"), (
        "the longest first; what is short is a word like any other"
    )
    assert redact("in /var/lib/place", ["PLACE", "NOT_SET"]) == "in <PLACE>"


@given(parts=st.lists(st.sampled_from([VALUE, VALUE[:-1], VALUE[1:], "x", "\n", "hf_", "0123"]), max_size=12))
def test_a_log_is_redacted_however_it_falls_into_pieces(parts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("HF_TOKEN", VALUE)
        patch.setattr(secrets, "PIECE_BYTES", 3)
        log = Path(folder) / "logs" / "trial.log"
        with open(private_log(log), "wb") as file:
            file.write("".join(parts).encode())
        assert is_private(log)
        redact_log(log)
        assert log.read_text() == "".join(parts).replace(VALUE, "<HF_TOKEN>")
        assert os.listdir(log.parent) == [log.name]
        assert log.stat().st_mode & 0o777 == log.parent.stat().st_mode & 0o666


def test_a_log_in_anothers_place_is_not_followed(tmp_path: Path) -> None:
    """A link under the log's name must not make the planner write where it points."""
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / "trial.log").symlink_to(other)
    os.close(private_log(tmp_path / "trial.log"))
    assert other.read_text() == "kept"
    assert not (tmp_path / "trial.log").is_symlink()


def test_a_storages_password_is_not_repeated(make_problem: Make) -> None:
    with pytest.raises(InputError, match=r"^storage nonsense://db\.example/studies: cannot be opened") as caught:
        Search.open(forecast_of(make_problem()), "nonsense://me:hf-secret-word@db.example/studies")
    assert "secret-word" not in str(caught.value)
