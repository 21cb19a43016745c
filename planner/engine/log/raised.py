"""Rules for exceptions whose words are in no table: `RAISED` names a cause of `causes.py` by frame, name and time."""

from __future__ import annotations

Rule = tuple[str, str, str, str]
RAISED: tuple[Rule, ...] = (
    ("compile cache", r"ValueError|TypeError|FileNotFoundError|EOFError|UnpicklingError", r"torch_compile_cache/", ""),
    ("broken installation", r"AttributeError|TypeError", r"/triton/|/transformers/|/torchvision/|/tokenizers/", ""),
    ("accelerator's compiler", r"\w+", r"/(?:libneuronxla|neuronx\w*|torch_xla)/", "start"),
    ("device error", r"\w+", r"/(?:libneuronxla|neuronx\w*|torch_xla)/", "load"),
    ("FlashInfer cannot compile", r"\w+", r"/flashinfer/(?:jit|compilation_context)|/torch/utils/cpp_extension", ""),
    ("Triton cannot compile", r"\w+", r"/triton/(?:compiler|backends)/", ""),
    (
        "checkpoint does not fit the code",
        r"KeyError|AssertionError|ValueError|RuntimeError|AttributeError|IndexError",
        r", in \w*(?:load_weights?|weight_loader|load_\w{1,40}_weights?|_load_module)\w*$",
        "start",
    ),
    (
        "model files",
        r"OSError|ConnectionError|\w*HTTPError|HFValidationError|JSONDecodeError",
        r"/(?:transformers|huggingface_hub|requests)/",
        "start",
    ),
    ("torch.compile", r"\w+", r"/torch/_(?:dynamo/(?!eval_frame)|inductor/|functorch/)", ""),
    ("request ended the engine", r"\w+", r"/vllm/(?!lib\w{0,2}/|bin/)", "load"),
    (
        "bad setting",
        r"ValueError|AssertionError|NotImplementedError|KeyError|TypeError|\w*ValidationError|Exception",
        r"/vllm/(?:config|engine/arg_utils|entrypoints|platforms|plugins|transformers_utils|reasoning|tool_parsers)",
        "start",
    ),
    (
        "model's code failed",
        r"\w+",
        r"/vllm/(?:model_executor/models|multimodal|inputs)/|/transformers_modules/",
        "start",
    ),
    (
        "checkpoint does not fit the code",
        r"ValueError|RuntimeError|NotImplementedError",
        r"/vllm/.{0,60}/model_loader/",
        "start",
    ),
    ("bad setting", r"ValueError|NotImplementedError", r"/vllm/(?!lib\w{0,2}/|bin/)", "start"),
    ("bad setting", r"ValueError|NotImplementedError", "", "begin"),
    (
        "fault inside vLLM",
        r"AttributeError|TypeError|KeyError|IndexError|AssertionError|UnboundLocalError|NameError|RuntimeError",
        r"/vllm/(?!lib\w{0,2}/|bin/)",
        "start",
    ),
)
"""(cause, name of the exception, frame among the last ones of its traceback, when) for exceptions whose words are in no
table; the first counts. When: `begin` before anything was loaded, `start` before it served, `load` while it served."""
