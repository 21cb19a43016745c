"""A compose file or a Kubernetes manifest that starts vLLM: `read_manifest(text, where)` -> the same as of a line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from planner.engine.command.charts import GPU_RESOURCE, containers_of
from planner.engine.command.pasted import VISIBLE, StartLine, cards_of, of_command, version_of
from planner.engine.command.shell import split_line
from planner.errors import InputError
from planner.files import decode_all

_HEAD = re.compile(
    r"^((services|kind|apiVersion|args|command|containers|servingEngineSpec):|- (name|hosts):)", re.MULTILINE
)
"""First keys of a compose file, a manifest, a chart's values or a playbook, or of a part of one."""
_DEFAULT = re.compile(r"\$\{\w{1,100}:?-([^}]{0,500})\}")
"""A variable with a default: `${PORT:-8000}`."""
MOST_NODES = 1024
_NEEDED = re.compile(r"\$\{(\w{1,100}):?\?[^}]{0,500}\}|\$\{(\w{1,100})\}|\$\((\w{1,100})\)")
"""A variable without one: compose's `${PORT:?message}` and `${PORT}`, Kubernetes' `$(PORT)`."""


def is_manifest(text: str) -> bool:
    """Whether a YAML text is a compose file or a Kubernetes manifest, and no study."""
    return _HEAD.search(text) is not None


def read_manifest(text: str, where: str) -> StartLine:
    """What the one service or container that starts vLLM says. Raises InputError if there is none, or several."""
    documents = decode_all(text, where)
    found = [one for document in documents for one in _services(document)]
    starts = [(name, service) for name, service in found if _is_vllm(service)]
    if len(starts) > 1:  # a worker's container has the image, and starts no engine of its own
        starts = [(name, service) for name, service in starts if _start(service).model is not None] or starts
    if len(starts) != 1:
        names = ", ".join(name for name, _ in starts)
        raise InputError(f"{where}: {f'{names}: several start vLLM; leave one' if starts else 'starts no vLLM'}")
    found_line = _start(starts[0][1])
    nodes = max((_nodes(document) for document in documents), default=1)
    return replace(found_line, num_gpus=found_line.num_gpus and found_line.num_gpus * nodes)


def _nodes(document: Any) -> int:
    """The pods over which a LeaderWorkerSet spreads one engine; 1 for anything else."""
    if not isinstance(document, dict) or document.get("kind") != "LeaderWorkerSet":
        return 1
    size = _at(document, "spec", "leaderWorkerTemplate", "size")
    return size if isinstance(size, int) and 1 <= size <= MOST_NODES else 1


def _services(document: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Compose services, the containers of pods wherever they stand, and those of charts and playbooks."""
    if not isinstance(document, dict):
        yield from _tasks(document)
        return
    yield from containers_of(document)
    services = document.get("services")
    if isinstance(services, dict):
        yield from ((f"services.{name}", service) for name, service in services.items() if isinstance(service, dict))
        return
    if "args" in document or "command" in document:
        yield "container", document
    yield from _containers(document)


def _containers(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, list):
        for part in value:
            yield from _containers(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            if key == "containers" and isinstance(part, list):
                yield from ((str(one.get("name", key)), one) for one in part if isinstance(one, dict))
            else:
                yield from _containers(part)


def _tasks(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Containers that the tasks of a playbook start: mappings with an image and a command, at any depth of a list."""
    if isinstance(value, list):
        for part in value:
            yield from _tasks(part)
    elif isinstance(value, dict):
        if isinstance(value.get("image"), str) and ("command" in value or "args" in value):
            yield str(value.get("name", "container")), value
        for part in value.values():
            yield from _tasks(part)


def _is_vllm(service: Mapping[str, Any]) -> bool:
    words = [str(service.get("image", "")), *_list(service.get("entrypoint"))]
    words += [*_list(service.get("command")), *_list(service.get("args"))]
    return any("vllm" in word or word.partition("=")[0] == "--model" for word in words)


def _list(value: Any) -> list[str]:
    """A command as a list of words: YAML has it as a list or as one text."""
    if value is None:
        return []
    if isinstance(value, list):
        return [_filled(str(word)) for word in value]
    return split_line(_filled(str(value)))


def _filled(text: str) -> str:
    return _DEFAULT.sub(r"\1", text).replace("$$", "$")


def _start(service: Mapping[str, Any]) -> StartLine:
    # Kubernetes' command is Docker's entrypoint, and its args are Docker's command
    env = _environment(service)
    words = [*_list(service.get("entrypoint")), *_list(service.get("command")), *_list(service.get("args"))]
    found = of_command([_NEEDED.sub(lambda match: _known(match, env), word) for word in words])
    cards = _cards(service)
    if cards is None and (devices := env.get(VISIBLE)):
        cards = len(devices.split(","))
    return replace(found, version=version_of(_filled(str(service.get("image", "")))), env=env, num_gpus=cards)


def _known(match: re.Match[str], env: Mapping[str, str]) -> str:
    return env.get(match[1] or match[2] or match[3], match[0])


def _environment(service: Mapping[str, Any]) -> dict[str, str]:
    """Variables with a plain value: a mapping or `NAME=value` of compose, a list of name and value of Kubernetes."""
    given = service.get("environment", service.get("env"))
    if isinstance(given, dict):
        return {str(name): _filled(str(value)) for name, value in given.items() if value is not None}
    found: dict[str, str] = {}
    for one in given if isinstance(given, list) else []:
        if isinstance(one, dict) and "value" in one:
            found[str(one.get("name"))] = str(one["value"])
        elif isinstance(one, str) and "=" in one:
            name, _, value = one.partition("=")
            found[name] = _filled(value)
    return found


def _cards(service: Mapping[str, Any]) -> int | None:
    """How many cards the service gets; None if it gets all, or if it does not say."""
    limits = _at(service, "resources", "limits")
    if isinstance(limits, dict) and GPU_RESOURCE in limits:
        return cards_of(str(limits[GPU_RESOURCE]))
    devices = _at(service, "deploy", "resources", "reservations", "devices")
    for device in devices if isinstance(devices, list) else []:
        if isinstance(device, dict) and isinstance(device.get("device_ids"), list):
            return len(device["device_ids"])
        if isinstance(device, dict) and "count" in device:
            return cards_of(str(device["count"]))
    return None


def _at(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
