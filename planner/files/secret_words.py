"""Tell a secret by the name of a variable, flag or key, and by the form of a value. `redaction.py` keeps them out."""

from __future__ import annotations

import re

_SECRET = re.compile(
    r"""TOKEN(_?\d+)?$|SECRET(?!ARY)|(?<!BY)PASS(?!_?THR|IVE)|CREDENTIAL|(^|_)PAT$|(?<!^X)AUTH(?!OR(?!I))|PRIVATE
    |(?<!^OLD)(?<!^)PWD$  # MYSQL_PWD, but neither PWD nor OLDPWD
    |(?<!^)KEYS?(_ID)?(_?\d+)?$""",
    re.IGNORECASE | re.VERBOSE,
)
_SECRET_WORD = re.compile(
    r"(?:^|[_.-])(?:TOKENS?|JWT|BEARER|COOKIES?|CREDS?|DSN|SAS|PW|WEBHOOK|PASSCODE|SIGNATURE|CONNECTION_STRING|API_?KEY"
    r"|UNSEAL|OTP)(?=[_.-]|$)",
    re.IGNORECASE,
)
"""Words that name a secret wherever they stand: HF_TOKEN_VALUE, POSTGRES_PW, SENTRY_DSN, SLACK_WEBHOOK_URL."""
_COUNTED = re.compile(
    r"(?:^|[_.-])(?:MAX|MIN|NUM|PER|COUNT|BATCHED|EOS|BOS|PAD|UNK|IDS?|TYPE|SIZE|LEN|LIMIT|BUDGET|RATE|DETAILS|SPECIAL"
    r"|EXTRA|PROMPT|SPECULATIVE|DRAFT|TREE|THRESHOLD|SKIP|USE|ENABLE|DISABLE|RETURN|FILE|PATH|DIR|HOME)(?=[_.-]|$)",
    re.IGNORECASE,
)
"""Words beside which those are numbers of tokens, ways of working or places."""
_NUMBERED = re.compile(r"(?:[A-Z]{1,20}_)?(?:MAX|MIN|NUM)_", re.IGNORECASE)
"""Beginnings of names of numbers of tokens: --max-prompt-adapter-token."""
_SECRET_JSON_KEY = re.compile(
    r"^(?:(?:hf|hub|auth|access|bearer|session|security|sas|refresh|aws_\w{1,20})_)?token$|api_?key$|access_?key(?:_id)?$"
    r"|secret|passw(?:or)?d$|passphrase|credential|^pwd$|(?:^|_)auth(?:orization)?$|^bearer$|^jwt$|cookie"
    r"|connection_?string|^dsn$"
)
"""Keys in JSON arguments, in lower case with underscores; there, `eos_token` and `cache_key` are ordinary."""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_USER_INFO = re.compile(r"\A[a-z][a-z0-9+.-]*://([^/?#\s]*)@", re.IGNORECASE)
_ANY_USER_INFO = re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://[^/?#\s'\"@]{1,500}@", re.IGNORECASE)
_QUERY = re.compile(
    r"[?&](?:[\w-]{0,40}(?:token|signature|credential|secret|passwd|password|api[_-]?key)|sig|key|code|auth|jwt)"
    r"=([^&\s#'\"]{1,4000})",
    re.IGNORECASE,
)
_FORM = re.compile(
    r"\bhf_[A-Za-z0-9]{30,200}|\bsk-[\w-]{20,200}|\bgh[pousr]_[A-Za-z0-9]{30,200}|\bgithub_pat_\w{20,200}"
    r"|\bA[KS]IA[0-9A-Z]{16}\b|\bxox[abprs]-[\w-]{10,200}|\bnvapi-[\w-]{20,200}|\bglpat-[\w-]{15,200}"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY|\bBearer [\w.~+/=-]{8,200}|\beyJ[\w-]{10,200}\.eyJ[\w-]{10,200}"
)
"""Forms that providers of keys publish so that they can be found: Hugging Face, OpenAI, GitHub, AWS, Slack, NVIDIA,
GitLab; PEM, RFC 6750 and JSON web tokens."""


def is_secret(variable: str) -> bool:
    """Whether a variable of this name holds a secret: HF_TOKEN, OPENAI_KEY, PGPASSWORD, MYSQL_PWD, GITHUB_PAT."""
    if (found := _SECRET.search(variable)) is not None:
        return not (found[0].upper() == "TOKEN" and _NUMBERED.match(variable))
    return _SECRET_WORD.search(variable) is not None and _COUNTED.search(variable) is None


def is_secret_key(key: str) -> bool:
    """Whether the value of this key in a JSON argument is a secret, in any usual spelling: `apiKey`, `x-api-key`."""
    return _SECRET_JSON_KEY.search(_HUMP.sub("_", key).replace("-", "_").lower()) is not None


def has_user_info(value: str) -> bool:
    """Whether a value is a URL with a user, and so most often a password: `http://user:password@proxy:3128`."""
    return _USER_INFO.match(value) is not None


def carries_secret(value: str) -> bool:
    """Whether a text holds a URL with a user or a key in its query, or what has the form of a known provider's key."""
    return any(one.search(value) is not None for one in (_ANY_USER_INFO, _USER_INFO, _QUERY, _FORM))


def secret_parts(value: str) -> list[str]:
    """The password and the query's keys in a value that is a URL."""
    found = _USER_INFO.match(value)
    password = "" if found is None else found[1].partition(":")[2]
    return [part for part in (password, *(match[1] for match in _QUERY.finditer(value))) if part]
