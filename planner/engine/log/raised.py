"""Rules for exceptions whose words are in no table: `RAISED` names a cause of `causes.py` by frame, name and time."""

from __future__ import annotations

from typing import NamedTuple


class Raised(NamedTuple):
    """One rule; all its patterns must fit."""

    cause: str
    exception: str
    """Regular expression of the exception's whole name."""
    place: str
    """Regular expression, searched in the last frames of the traceback; empty for none."""
    when: str
    """`begin`: before anything was loaded; `start`: before it served; `load`: while it served; empty: ever."""
    words: str = ""
    """Regular expression, searched in the message."""
    is_innermost: bool = False
    """Whether `place` must be the frame that raised."""


RAISED: tuple[Raised, ...] = (
    Raised(
        "compile cache", r"ValueError|TypeError|FileNotFoundError|EOFError|UnpicklingError", r"torch_compile_cache/", ""
    ),
    Raised(
        "broken installation", r"AttributeError|TypeError", r"/triton/|/transformers/|/torchvision/|/tokenizers/", ""
    ),
    Raised("accelerator's compiler", r"\w+", r"/(?:libneuronxla|neuronx\w*|torch_xla)/", "start"),
    Raised("device error", r"\w+", r"/(?:libneuronxla|neuronx\w*|torch_xla)/", "load"),
    Raised(
        "FlashInfer cannot compile", r"\w+", r"/flashinfer/(?:jit|compilation_context)|/torch/utils/cpp_extension", ""
    ),
    Raised("Triton cannot compile", r"\w+", r"/triton/(?:compiler|backends)/", ""),
    Raised(
        "KV transfer failed",
        r"(?!(?:Value|NotImplemented|Key|Import|ModuleNotFound|Assertion)Error)\w+",
        r"/kv_transfer/|/(?:nixl|lmcache|mooncake)\w{0,20}/",
        "",
    ),
    Raised(
        "broken installation",
        r"AttributeError|TypeError|NameError",
        r"/(?:site|dist)-packages/(?!(?:vllm\w{0,20}|torch|ray|pydantic|fastapi|starlette|uvicorn)/)",
        "start",
        is_innermost=True,
    ),
    Raised(
        "checkpoint does not fit the code",
        r"KeyError|AssertionError|ValueError|RuntimeError|AttributeError|IndexError",
        r", in \w*(?:load_weights?|weight_loader|load_\w{1,40}_weights?|_load_module)\w*$",
        "start",
    ),
    Raised(
        "model files",
        r"OSError|\w*HTTPError|HFValidationError|JSONDecodeError|\w*ConnectionError",
        r"/transformers/",
        "start",
    ),
    Raised(
        "model files",
        r"\w+",
        r"/(?:huggingface_hub|requests|httpx|modelscope|runai_model_streamer|boto\w{1,5}|fsspec|s3fs)/",
        "start",
    ),
    Raised("torch.compile", r"\w+", r"/torch/_(?:dynamo/(?!eval_frame)|inductor/|functorch/)", ""),
    Raised("request ended the engine", r"\w+", r"/vllm/(?!lib\w{0,2}/|bin/)", "load"),
    Raised(
        "bad setting",
        r"ValueError|AssertionError|NotImplementedError|KeyError|TypeError|\w*ValidationError|Exception",
        r"/vllm/(?:config|engine/arg_utils|entrypoints|platforms|plugins|transformers_utils|reasoning|tool_parsers)",
        "start",
    ),
    Raised(
        "bad setting",
        r"RuntimeError|AttributeError|AssertionError|Exception",
        r"/vllm/(?!lib\w{0,2}/|bin/)",
        "start",
        words=r"(?i)not (?:yet |currently )?support|unsupported|only supports?\b|cannot be used with|not compatible",
        is_innermost=True,
    ),
    Raised(
        "model's code failed",
        r"\w+",
        r"/vllm/(?:model_executor/models|multimodal|inputs)/|/transformers_modules/",
        "start",
    ),
    Raised(
        "checkpoint does not fit the code",
        r"ValueError|RuntimeError|NotImplementedError",
        r"/vllm/.{0,60}/model_loader/",
        "start",
    ),
    Raised("bad setting", r"ValueError|NotImplementedError", r"/vllm/(?!lib\w{0,2}/|bin/)", "start"),
    Raised("bad setting", r"ValueError|NotImplementedError", "", "begin"),
    Raised(
        "fault inside vLLM",
        r"AttributeError|TypeError|KeyError|IndexError|AssertionError|UnboundLocalError|NameError|RuntimeError|Exception",
        r"/vllm/(?!lib\w{0,2}/|bin/)",
        "start",
    ),
)
"""Rules for exceptions whose words are in no table; the first counts."""
