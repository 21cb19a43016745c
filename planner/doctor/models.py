"""Checks of the study's models: files complete by the index and by their own headers, tokenizer, quantization."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from planner.doctor.check import Case, Check
from planner.errors import InputError
from planner.estimate import quantization_conflict, weight_bytes
from planner.files import read_bytes
from planner.launch import downloads_words
from planner.model import ModelSpec, load_model, read_safetensors_header
from planner.study import ModelVariant
from planner.units import format_gib

WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf")
INDEXES = ("*.safetensors.index.json", "*.bin.index.json")
UNFINISHED = ("*.incomplete", "*.part", "*.aria2", "*.crdownload", ".cache/huggingface/download/*.incomplete")
"""Files that downloaders leave while they are not done."""
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "*.tiktoken",
)
OLD_QUANTIZATION_FILES = ("quant_config.json", "quantize_config.json")
"""Where AWQ and GPTQ checkpoints declared themselves before config.json did (layers/quantization/awq.py, gptq.py)."""
LFS_POINTER = b"version https://git-lfs"
HUB_CACHE = Path("~/.cache/huggingface/hub")
MOST_NAMES = 3


def models(case: Case) -> list[Check]:
    """One check for each variant of the study."""
    return [] if case.spec is None else [_variant(case, name, v) for name, v in case.spec.models.items()]


def _variant(case: Case, name: str, variant: ModelVariant) -> Check:
    title, folder = "model" if name == "model" else f"model {name}", variant.folder
    if not variant.is_directory:
        return _hub(case, title, name, variant)
    if not os.path.isdir(folder):
        fix = f"copy or download the model there, or correct {case.places.name(f'models.{name}.path')}"
        return Check(title, "problem", f"{variant.path} is no directory of this machine", fix)
    return _directory(case, title, name, folder)


def _hub(case: Case, title: str, name: str, variant: ModelVariant) -> Check:
    """Check a Hub name: its snapshot if the cache has one, else what will be downloaded."""
    snapshot = hub_snapshot(variant.path)
    if snapshot is not None:
        return _directory(case, title, name, snapshot)
    size = ""
    if case.problem is not None:
        model = case.problem.models[name]
        size = f", about {format_gib(float(weight_bytes(model, model.torch_dtype, 1)), 0)}"
    finding = f"{variant.path} is a Hub name and not in the cache: the first launch downloads it{size}"
    if case.spec is not None and case.spec.engine.env.get("HF_HUB_OFFLINE") == "1":
        return Check(title, "problem", f"{finding}, and HF_HUB_OFFLINE=1 forbids that", f"hf download {variant.path}")
    if case.backend == "docker" and case.spec is not None and (words := downloads_words(case.spec)) is not None:
        return Check(title, "warning", words, f"mkdir -p {HUB_CACHE.parent} && hf download {variant.path}")
    fix = f"hf download {variant.path}, or every trial waits for it"
    return Check(title, "warning", finding, fix)


def hub_snapshot(name: str) -> Path | None:
    """Folder of the revision `main` of a model in Hugging Face's cache; None if it is not there."""
    root = HUB_CACHE.expanduser() / f"models--{name.replace('/', '--')}"
    try:
        revision = (root / "refs" / "main").read_text("utf-8").strip()
    except OSError:
        return None
    return root / "snapshots" / revision


def _directory(case: Case, title: str, name: str, folder: Path) -> Check:
    again = "download what is missing, for example with hf download"
    if not (folder / "config.json").is_file():
        return Check(title, "problem", f"{folder}: config.json is missing", again)
    try:
        if faults := [*_weight_faults(folder, case, name), *_tokenizer_faults(folder, case)]:
            return Check(title, "problem", f"{folder}: {'; '.join(faults)}", again)
        model = load_model(str(folder))
    except InputError as error:
        return Check(title, "problem", str(error), again)
    conflicts = {conflict for asked in _asked(case, name) if (conflict := _conflict(model, asked, folder))}
    if conflicts:
        declared = model.quantization.method if model.quantization else "none"
        fix = f"write {case.places.setting('quantization')} as declared: {declared}"
        return Check(title, "problem", "; ".join(sorted(conflicts)), fix)
    if unfinished := [path.name for pattern in UNFINISHED for path in folder.glob(pattern)]:
        finding = f"{folder} is complete by its index, but there are unfinished downloads: {_some(unfinished)}"
        return Check(title, "warning", finding, "remove them, or let the download end")
    quantization = (
        f"{model.quantization.method}, {model.quantization.bits} bit" if model.quantization else "not quantised"
    )
    size = sum(path.stat().st_size for path in weight_files(folder))
    return Check(title, "ok", f"{folder}: {_files(len(weight_files(folder)))}, {format_gib(size)}, {quantization}")


def _asked(case: Case, name: str) -> set[str | None]:
    return {candidate.engine.quantization for candidate in case.candidates if candidate.model == name}


def _conflict(model: ModelSpec, asked: str | None, folder: Path) -> str | None:
    if (conflict := quantization_conflict(model, asked)) is not None:
        return conflict
    needs_declaration = (asked or "").partition("_")[0] in {"awq", "gptq"} and model.quantization is None
    if needs_declaration and not any((folder / file).exists() for file in OLD_QUANTIZATION_FILES):
        return f"the study asks for {asked}, config.json declares no quantisation"
    return None


def weight_files(folder: Path) -> list[Path]:
    return sorted(path for pattern in WEIGHTS for path in folder.glob(pattern))


def _weight_faults(folder: Path, case: Case, name: str) -> Iterator[str]:
    """What is wrong with the weight files. Raises InputError if a file cannot be read."""
    if any(c.engine.load_format == "dummy" for c in case.candidates if c.model == name):
        return
    files = weight_files(folder)
    listed = index_of(folder)
    missing = sorted(listed.keys() - {path.name for path in files})
    if not files and not listed:
        yield "no weights: neither *.safetensors nor *.bin nor *.gguf"
    if missing:
        yield f"{len(missing)} of {len(listed)} files of the index are missing: {_some(missing)}"
    for path in files:
        with path.open("rb") as stream:
            is_pointer = stream.read(len(LFS_POINTER)) == LFS_POINTER
        if is_pointer:
            yield f"{path.name} is a pointer of Git LFS, not the weights (git lfs pull)"
        elif path.suffix == ".safetensors":
            yield from _safetensors_faults(path, listed.get(path.name, set()))


def _safetensors_faults(path: Path, listed: set[str]) -> Iterator[str]:
    header, size = read_safetensors_header(path), path.stat().st_size
    if size != header.file_bytes:
        yield f"{path.name} has {size} bytes, its header says {header.file_bytes}: the copy is not whole"
    if absent := sorted(listed - header.tensors.keys()):
        yield f"{path.name} lacks tensors of the index: {_some(absent)}"


class _Index(msgspec.Struct):
    weight_map: dict[str, str]
    """Name of a tensor -> name of its file."""


def index_of(folder: Path) -> dict[str, set[str]]:
    """Name of a file -> its tensors, by the index; empty if there is none. Raises InputError."""
    found: dict[str, set[str]] = {}
    for path in sorted(path for pattern in INDEXES for path in folder.glob(pattern))[:1]:
        try:
            index = msgspec.json.decode(read_bytes(path), type=_Index)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            raise InputError(f"{path}: is no index of weights: {error}") from None
        for tensor, file in index.weight_map.items():
            found.setdefault(file, set()).add(tensor)
    return found


def _tokenizer_faults(folder: Path, case: Case) -> Iterator[str]:
    elsewhere = {"--tokenizer", "--skip-tokenizer-init"} & set(case.spec.engine.extra_args if case.spec else ())
    if not elsewhere and not any(path for pattern in TOKENIZERS for path in folder.glob(pattern)):
        yield f"no tokenizer ({', '.join(TOKENIZERS[:3])}, ...)"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _files(count: int) -> str:
    return f"{count} file{'s' if count != 1 else ''}"
