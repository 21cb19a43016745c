"""Changes between releases of vLLM: facts that other modules use. Which flags a release has: flag_table.py.

No other module of planner writes a version of vLLM. A fact that several modules use is a property of
`ResolvedEngine`.
"""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

from planner.engine.flag_table import every_flag, release_of
from planner.errors import InputError

# --- facts of releases, each with its source ---
# `X_SINCE`: true from this release on. `X_UNTIL`: true of every release before this one. Where wheels in between were
# not read, the first wheel that shows it.

# 0.6
CONFIG_FILE_SINCE = Version("0.6.0")
"""`vllm serve` takes `--config` (vLLM's pull request 7737)."""
V0_LONG_CHUNKS_SINCE = Version("0.6.4")
"""A chunk of V0 has 2048 tokens by default instead of 512 (engine/arg_utils.py)."""
FRAGMENTS_COUNTED_UNTIL = Version("0.6.4")
"""The profile counts what torch has reserved, fragments included, instead of what it has allocated."""

# 0.7
IMAGE_FITS_CONTEXT_UNTIL = Version("0.7.0")
"""vLLM refuses an image larger than the context, so it had to be made smaller (mm_processor_kwargs)."""

# 0.8
BITSANDBYTES_ALONE_SINCE = Version("0.8.5")
"""`--quantization bitsandbytes` sets the load format by itself (vllm@0.8.5 engine/arg_utils.py:create_load_config;
releases before were not read)."""
V1_DEFAULT_SINCE = Version("0.8.0")
"""V1 serves unless something forces V0 (vllm@0.8.5 engine/arg_utils.py:_is_v1_supported_oracle)."""
MANY_SEQS_UNTIL = Version("0.8.4.dev0")
"""V1's default max_num_seqs is 1024 on every card (engine/arg_utils.py:_set_default_args_v1)."""
LARGE_BATCH_BY_MEMORY_SINCE = Version("0.8.5")
"""V1 picks the cards with larger batches by memory instead of name (vllm@0.8.5 engine/arg_utils.py)."""

# 0.9
HALF_FALLBACK_SINCE = Version("0.9.0")
"""dtype auto turns bfloat16 into float16 on cards that lack it (vllm@0.8.5 config.py:_get_and_verify_dtype does not,
0.9.2 does)."""
SMALL_BATCH_ON_A100_SINCE = Version("0.9.0")
"""V1 gives the A100, of any memory, the batches of small cards (vllm@0.9.2 excludes it by name)."""
CONCURRENCY_BY_BLOCKS_SINCE = Version("0.9.1")
"""V1's maximum concurrency counts whole blocks of a request; before, tokens over max_model_len (v1/core/
kv_cache_utils.py:get_max_concurrency_for_kv_cache_config, which 0.9.0 does not have)."""
NVFP4_MARLIN_SINCE = Version("0.9.0")
"""NVFP4 weights run on Marlin from compute capability 8.0 on (0.11.2 layers/quantization/modelopt.py; 0.8.5 asks for
10.0; those between were not read)."""
CONTEXT_IN_BUDGET_UNTIL = Version("0.9.0")
"""V1 subtracts the CUDA context and other processes from the budget (vllm@0.8.5 v1/worker/gpu_worker.py)."""
OFFLOAD_WITH_ONE_KIND = (Version("0.9.0"), Version("0.20.0"))
"""From the first version and before the second, V1 refuses to offload weights of a model with several kinds of layers
(v1/worker/gpu_model_runner.py:may_reinitialize_input_batch of 0.11.2, 0.17.0, 0.19.0; 0.20.0 has no such check)."""

# 0.10
V1_ON_TURING_SINCE = Version("0.10.0")
"""V1 serves below compute capability 8.0 (vllm@0.9.2 forces V0 there, 0.10.2 does not)."""
HYBRID_KV_SINCE = Version("0.10.0")
"""V1 allocates sliding-window layers in groups of their own instead of as full attention (vllm@0.10.2
v1/core/kv_cache_utils.py)."""
VIDEO_ALONE_SINCE = Version("0.10.0")
"""The profile's video may fill the whole context; before, only what one image leaves of it (models/qwen2_vl.py)."""
GRAPHS_FOLLOW_MAX_NUM_SEQS_SINCE = Version("0.10.0")
"""V1 captures CUDA graphs up to twice max_num_seqs; before, always up to the largest (vLLM's pull request 20628)."""
KV_USAGE_RENAMED_SINCE = Version("0.10.0")
"""The metrics of the KV cache have no `gpu_` in their names (0.9.2 writes both names, 0.14.1 only these)."""
TOWER_LEFT_OUT_SINCE = Version("0.10.1")
"""A tower is not loaded if no prompt may have images or videos (vllm@0.10.1 models/qwen2_5_vl.py, gemma3_mm.py; for all
models measured at 0.24.0)."""
CONFIG_FILE_LISTS_SINCE = Version("0.10.2")
"""A file for `--config` may hold lists; the wheel of 0.9.2 accepts none."""
COMPILATION_MODE_READ_SINCE = Version("0.10.2")
"""V1 follows a compilation config without compilation (config/__init__.py:VllmConfig.__post_init__; 0.8.5 compiles
whatever it says, those between were not read)."""

# 0.11
V1_ONLY_SINCE = Version("0.11.0")
"""V0 is removed, so what V1 cannot serve is refused or gets another attention backend, as an fp8 KV cache does
(vllm@0.11.2 has no V0 and no VLLM_USE_V1)."""
CHUNKED_PREFILL_FORCED_UNTIL = Version("0.11.1")
"""V1 chunks prefills whatever was asked (vllm@0.8.0..0.11.0 engine/arg_utils.py:_set_default_args_v1); from this
release on an engine that does not gets max_num_batched_tokens of at least max_model_len by default."""
TRITON_ATTN_NAMED_SINCE = Version("0.11.0")
"""The Triton backend is TRITON_ATTN; before, V1 called it TRITON_ATTN_VLLM_V1 (vllm@0.10.2 platforms/cuda.py)."""
SNAPSHOT_AFTER_NCCL_SINCE = Version("0.11.0")
"""NCCL's buffers exist before the first snapshot, so the budget does not see them (vllm@0.10.2 takes it before
NCCL, 0.11.2 after)."""
FULL_GRAPHS_SINCE = Version("0.11.0")
"""V1 captures full graphs for decoding beside the piecewise ones (vllm@0.11.2: cudagraph_mode is FULL_AND_PIECEWISE if
the backend supports it)."""
LORA_GRAPHS_SINCE = Version("0.11.1")
"""With LoRA each graph is captured with and without adapters (config/compilation.py:cudagraph_specialize_lora; 0.11.0
does not have it)."""
FUSED_ROTARY_SINCE = Version("0.11.0")
"""Qwen's vision towers rotate queries and keys in a fused kernel (one to three recorded starts)."""
TIMESTAMPED_VIDEO = (Version("0.11.0"), Version("0.13.0"))
"""From the first version and before the second, Qwen3-VL counts every video token as 12.5 (models/qwen3_vl.py:
get_max_video_tokens)."""
ERRORS_NESTED_SINCE = Version("0.11.0")
"""A response with an error has it under the key `error`."""
MAMBA_PREFIX_ALL = (Version("0.11.0"), Version("0.32.0"))
"""From the first version and before the second, prefix caching keeps a Mamba state per block of tokens (mode `all`,
models that are SupportsMambaPrefixCaching); 0.10.2 turns prefix caching off, 0.32.0 config/cache.py has no `all`."""
REJECTION_WITH_BONUS_SINCE = Version("0.11.2")
"""The first runner's profile run samples draft and bonus tokens together (v1/sample/rejection_sampler.py:forward, which
takes twice the rows; 0.11.0 does not)."""

# 0.12 to 0.19
WIDE_GROUPS_SINCE = Version("0.12.0")
"""Groups of KV cache layers are as wide as the commonest kind if that has less than 1.25 times the layers of the rarest
one (v1/core/kv_cache_utils.py:_get_kv_cache_groups_uniform_page_size; 0.11.2 never does)."""
FP8_KV_ON_ADA_SINCE = Version("0.12.0")
"""V1 picks by itself a backend that serves an fp8 KV cache below compute capability 9.0."""
TENSORS_ON_TURING_SINCE = Version("0.12.0")
"""compressed-tensors with 4- or 8-bit integers as weights alone run on compute capability 7.5 (vLLM's pull request
29732; 0.11.2 asks for 8.0)."""
COMPILATION_MODE_SINCE = Version("0.12.0")
"""compilation_config's `mode` replaces `level` (vllm@0.12.0 config/compilation.py)."""
ATTENTION_BACKEND_FLAG_SINCE = Version("0.13.0")
"""`--attention-backend` is a flag; before, VLLM_ATTENTION_BACKEND (data/vllm-flags.json)."""
GRAPHS_FOLLOW_DRAFTS_SINCE = Version("0.13.0")
"""V1 captures CUDA graphs up to twice the tokens that max_num_seqs requests decode at once, drafted ones too, in
multiples of a request's (config/vllm.py:_set_cudagraph_sizes; 0.12.0 counts one token per request)."""
MODELOPT_KV_SCHEME_SINCE = Version("0.14.0")
"""kv_cache_dtype auto follows a modelopt checkpoint (utils/torch_utils.py:get_kv_cache_quant_algo_string; 0.13.0 does
not have it)."""
MARLIN_ON_TURING_SINCE = Version("0.14.0")
"""Marlin's kernels run on compute capability 7.5 (vLLM's pull request 29901)."""
SHARED_WORKSPACE_SINCE = Version("0.14.0")
"""Buffers of the fused experts outlive a layer and are shared by all (fused_moe/modular_kernel.py takes them from
v1/worker/workspace.py; 0.11.2 does not)."""
ASYNC_SCHEDULING_SINCE = Version("0.14.0")
"""Asynchronous scheduling is on by default (vllm@0.14.1 config/vllm.py)."""
REJECTION_KEEPS_RAW_SINCE = Version("0.14.1")
"""The rejection sampler keeps the raw logits of the drafts beside those that it changes (0.13.0 does not)."""
WHOLE_MODEL_CHECKED = (Version("0.14.0.dev0"), Version("0.17.0.dev0"))
"""From the first version and before the second, a pipeline stage had to hold a request's KV cache of every layer
(vLLM's pull request 33698)."""
KV_SCHEME_SINCE = Version("0.16.0")
"""kv_cache_dtype auto follows a compressed-tensors checkpoint's kv_cache_scheme (layers/attention/attention.py; 0.14.1
does not, 0.15 was not read)."""
MAMBA_ALIGN_SINCE = Version("0.16.0")
"""Prefix caching works for every hybrid model: two states per request, mode `align`; and speculative tokens have states
of their own (v1/kv_cache_interface.py:MambaSpec; 0.14.1 has neither, 0.15 was not read)."""
ASYNC_WITH_STAGES_SINCE = Version("0.16.0")
"""Asynchronous scheduling works with pipeline parallelism (vllm@0.14.1, 0.16.0 config/vllm.py; those between were not
read)."""
TRITON_TOP_K_SINCE = Version("0.16.0")
"""Top-k and top-p run in a Triton kernel instead of torch's sort (v1/sample/ops/topk_topp_triton.py)."""
RUNNER_CHOSEN_SINCE = Version("0.16.0")
"""VLLM_USE_V2_MODEL_RUNNER chooses the model runner (v1/worker/gpu_worker.py; before 0.22 the second serves only where
it is asked for; releases before 0.16 were not read)."""
FLASHINFER_SPARSE_MLA_SINCE = Version("0.17.0")
"""On compute capability 10.x sparse attention with an fp8 KV cache runs on FlashInfer, which stores plain fp8
(platforms/cuda.py:_get_backend_priorities)."""
NVFP4_ON_TURING_SINCE = Version("0.17.0")
"""NVFP4 weights run on compute capability 7.5 (0.17.0 layers/quantization/modelopt.py; 0.14.0 refuses them, vLLM's
issue 32838; those between were not read)."""
WORKSPACE_CHUNKED_UNTIL = Version("0.18.0")
"""They take at most VLLM_FUSED_MOE_CHUNK_SIZE tokens at once (fused_moe/modular_kernel.py; 0.17.0 has it, 0.19.0 has
not)."""
WIDER_GROUPS_SINCE = Version("0.18.0")
"""That ratio is 1.5 (0.17.1 has 1.25)."""
REJECTION_INVERTS_SINCE = Version("0.18.0")
"""It keeps its random numbers and their inverses (v1/sample/rejection_sampler.py:sample_recovered_tokens; 0.16.0 has
no inverses)."""
FLASH_ATTN_MLA_BLOCKS_SINCE = Version("0.18.0")
"""Latent attention on compute capability 9.x keeps blocks of 16 tokens unless the KV cache is fp8 (0.14.1 sets 64 for
FlashMLA in platforms/cuda.py; 0.24.0 asks the backend)."""

WHOLE_PROMPT_FITS_SINCE = Version("0.19.0")
"""V1 starts a prompt only if all of it fits the free KV cache, not its first chunk alone (config/scheduler.py:
scheduler_reserve_full_isl, on by default; vLLM's pull request 37307)."""

# 0.20 to 0.22
KV_SIZE_BY_REQUESTS_SINCE = Version("0.20.1")
""""GPU KV cache size" is concurrency times max_model_len; before, blocks over groups times the smallest block (0.20.0
and 0.20.1 v1/core/kv_cache_utils.py)."""
HIGHER_UTILIZATION_SINCE = Version("0.20.0")
"""The default gpu_memory_utilization is 0.92 instead of 0.90 (vllm@0.20.2 has 0.92, 0.14.1 has 0.90)."""
DEFAULTS_CUT_SINCE = Version("0.20.0")
"""An unset max_num_seqs or max_num_batched_tokens is cut to what the other one allows (vllm@0.33.0
engine/arg_utils.py)."""
LARGEST_BATCH_SINCE = Version("0.20.0")
"""Cards of 160 GiB and more get 16384 tokens per step (vllm@0.33.0 engine/arg_utils.py)."""
GRAPHS_IN_BUDGET_SINCE = Version("0.20.0")
"""The budget includes an estimate of the CUDA graphs (vllm@0.20.2, though its log says 0.21)."""
STEADY_GRAPHS_SINCE = Version("0.20.0")
"""The log's figure for the graphs covers only the graphs; before, also anything else first allocated while
capturing (recorded starts: 0.1 to 5 GiB)."""
COMPILE_COUNTS_SINCE = Version("0.20.0")
"""Memory that torch.compile holds with a cold cache counts as activation (20 of 20 starts of 0.24, none up to 0.17)."""
FUSED_MLP_SINCE = Version("0.20.0")
"""The MLP's all-reduce holds no tensor of its own (five starts of 0.24)."""
MORE_OUTSIDE_TORCH_SINCE = Version("0.20.0")
"""An engine alone on a card of compute capability 9.0 takes more memory outside torch (recorded starts of 0.24)."""
MAMBA_BLOCKS_CHECKED_SINCE = Version("0.20.0")
"""The engine refuses more sequences than it has KV cache blocks for Mamba states, if it captures full graphs
(config/compilation.py:resolve_cudagraph_mode_and_sizes; 0.19.1 captures fewer graphs instead)."""
BLOCK_ALIGNED_BY_SIZE_SINCE = Version("0.20.0")
"""A hybrid's block is a multiple of block_size, before of the kernel's own (0.20.0 platforms/interface.py:
_align_hybrid_block_size, 0.18.0 models/config.py)."""
GEMMA4_CHUNKS_SINCE = Version("0.22.0")
"""Gemma 4's tower takes few frames of a video at once on a small card (models/gemma4_mm.py:_encoder_chunk; 0.20.0 does
not, 0.21 was not read)."""
PREFIX_LM_BATCH_SINCE = Version("0.22.0")
"""The default max_num_batched_tokens holds the largest image or video of a model that sees it whole (engine/
arg_utils.py:_set_default_max_num_seqs_and_batched_tokens_args; 0.21.0 does not)."""
SECOND_RUNNER_SINCE = Version("0.22.0")
"""Model runner V2 serves one architecture (config/vllm.py:DEFAULT_V2_MODEL_RUNNER_ARCHITECTURES; 0.21 was not read)."""


# 0.23 and later
SECOND_RUNNER_FOR_THREE_SINCE = Version("0.23.0")
"""It serves three architectures, unquantised (the same place)."""
SECOND_RUNNER_FOR_QUANTISED_SINCE = Version("0.24.0")
"""It serves six architectures, quantised too (the same place), and DFlash drafters."""
FLASHINFER_ON_TURING_UNTIL = Version("0.24.0")
"""V1 prefers FlashInfer on compute capability 7.5, where starts are known to fail; Triton works (vLLM's issue 47549).
"""
PLAIN_AWQ_IN_BFLOAT16_SINCE = Version("0.24.0")
"""The plain kernels of AWQ and GPTQ compute in bfloat16 too (layers/quantization/auto_awq.py; 0.20.0 has awq.py,
float16 alone; those between were not read)."""
SECOND_RUNNER_FOR_DENSE_SINCE = Version("0.25.0")
"""Model runner V2 serves every model without experts and states (config/vllm.py:_is_default_v2_model_runner_model)."""
ASYNC_WITH_NGRAM_SINCE = Version("0.25.0")
"""Asynchronous scheduling works with n-gram speculative decoding; before it is refused, later it depends on the model
runner (vllm@0.24.0, 0.33.0 config/vllm.py)."""
BATCHES_IN_FLIGHT_SINCE = Version("0.26.0")
"""Windows and chunks reserve KV cache for every batch in flight, two of them with asynchronous scheduling
(config/vllm.py:max_in_flight_tokens; 0.25.1 reserves one)."""
HYBRID_PREFIX_SINCE = Version("0.26.0")
"""Prefix caching is on by default for hybrid models (config/model.py:is_prefix_caching_supported; off in 0.25.1)."""
MLA_HYBRID_BLOCK_SINCE = Version("0.27.0")
"""The block of a hybrid with latent attention is a multiple of 128 tokens (platforms/interface.py; 0.26.0 has no such
line)."""
MODELOPT_FP8_ON_AMPERE_SINCE = Version("0.27.0")
"""ModelOpt's FP8 runs on compute capability 8.0 (0.27.1 layers/quantization/modelopt.py; 0.24.0 asks for 8.9; those
between were not read)."""
OFFLOAD_ON_SECOND_RUNNER_SINCE = Version("0.28.0")
"""Model runner V2 offloads weights; before, cpu_offload_gb does nothing there (0.28.0 v1/worker/gpu/model_runner.py has
an offloader, 0.27.1 has none)."""
UNEVEN_EXPERT_BLOCKS_SINCE = Version("0.28.1")
"""FP8 experts whose width on a rank is no whole number of blocks may start: 0.30.0 refines their scales
(layers/quantization/fp8.py: weight_scale_refine), 0.28.0 and before refuse them; 0.29 was not read."""
GRAPHS_OF_DRAFT_BATCHES_SINCE = Version("0.29.0")
"""The captured sizes include those of 1, 2, 4, 8 ... requests that decode with their drafts (config/vllm.py:
_set_cudagraph_sizes; 0.28.0 does not)."""
SECOND_RUNNER_FOR_ALL_SINCE = Version("0.29.0")
"""Model runner V2 serves every architecture (config/vllm.py:use_v2_model_runner; 0.28.0 asks for the model)."""
SECOND_RUNNER_GRAPHS_SINCE = Version("0.29.0")
"""Model runner V2 estimates its graphs; before, as 0 bytes (v1/worker/gpu/model_runner.py:profile_cudagraph_memory;
0.28.0 returns 0)."""
SECOND_RUNNER_STAGED_EAGLE_SINCE = Version("0.30.0")
"""Model runner V2 serves EAGLE-3 with pipeline stages (config/vllm.py:_get_v2_model_runner_unsupported_features)."""
OWN_MTP_SINCE = {
    **dict.fromkeys(("deepseek_v3", "mimo", "glm4_moe", "ernie4_5_moe", "qwen3_next"), Version("0.7.0")),
    **dict.fromkeys(("deepseek_v32", "longcat_flash"), Version("0.11.0")),
    "exaone_moe": Version("0.14.0"),
    **dict.fromkeys(("glm_moe_dsa", "glm4_moe_lite", "glm_ocr", "step3p5"), Version("0.15.0")),
    **dict.fromkeys(("nemotron_h", "qwen3_5", "qwen3_5_moe"), Version("0.17.0")),
    **dict.fromkeys(("deepseek_v4", "exaone4_5", "hy_v3"), Version("0.19.0")),
    **dict.fromkeys(("mimo_v2", "mimo_v2_flash"), Version("0.21.0")),
    "minimax_m3": Version("0.23.0"),
}
"""Model types with a class for multi-token prediction (config/speculative.py:hf_config_override of 17 releases from
0.10.2 to 0.33.0). The earliest release in which it may be: one that was read has none in the release before."""
DRAFTS_ON_SECOND_RUNNER_SINCE = {
    "dflash": SECOND_RUNNER_FOR_QUANTISED_SINCE, "dflash2": SECOND_RUNNER_FOR_QUANTISED_SINCE,
    "dspark": SECOND_RUNNER_FOR_DENSE_SINCE,
    "draft_model": Version("0.31.0"), "ngram": Version("0.32.0"), "ngram_gpu": Version("0.32.0"),
    "medusa": Version("0.33.0"), "mlp_speculator": Version("0.33.0"),
}  # fmt: skip
"""Methods of speculative decoding that model runner V2 did not serve at first (the same place). EAGLE and multi-token
prediction it always served, `suffix` it does not in 0.33."""
SHARED_KEYS_LEFT_OUT_SINCE = Version("0.30.0")
"""Layers of Gemma 3n that read another's KV cache have queries only (models/gemma3n.py; 0.29.0 has all three)."""
MAMBA2_CHECKPOINT_SINCE = Version("0.32.0")
"""A prefill of Mamba-2 keeps one more state in mode `align` (layers/mamba/mamba_mixer2.py:get_kv_cache_spec)."""
GLM_FP8_KV_SINCE = Version("0.32.0")
"""kv_cache_dtype auto is fp8 for GLM with sparse attention on compute capability 10.x (models/config.py:
GlmMoeDsaForCausalLM)."""
PLAIN_MROPE_SINCE = Version("0.32.0")
"""Rotary tables of Qwen3-VL and Qwen3.5 have a row per position instead of four, unless videos are pruned (models/
qwen3_vl.py:mrope_positions_factor; 0.31.0 does not have it)."""
DELTA_CHECKPOINT_SINCE = Version("0.33.0")
"""So does a gated delta net (layers/mamba/gdn/qwen_gdn_linear_attn.py; 0.32.0 does not)."""


ATTENTION_BACKEND = "attention_backend"
"""The setting that every release takes, first by a variable of the environment."""
MOST_VERSION = 100
"""Most characters of a version; Python refuses to convert numbers of thousands of digits."""
OLDEST, NEWEST = Version("0.6.0"), Version("0.33.0")
"""Releases that the facts above cover. The newest is what is taken where nobody names a version."""
MINORS_BEHIND = 4
"""Minor releases before the oldest that are still judged, by its rules: recorded starts reach back to 0.2."""
MINORS_AHEAD = 12
"""Minor releases after the newest that are still judged, by its rules. A guess: about a year of releases."""
LATEST = "latest"
"""Word for the newest release, where a person names a version on the command line."""


def parse_version(text: str) -> Version:
    """Parse a version of vLLM, with or without a leading v. Raises InputError."""
    try:
        return Version(text[:MOST_VERSION].removeprefix("v"))
    except InvalidVersion:
        raise InputError(f"vLLM version {text!r} is not a version; write for example {NEWEST}") from None


def supported_version(text: str, where: str = "vLLM version") -> Version:
    """Parse a version that can be judged: covered by the facts above, or a release soon after them.

    `0.33` means 0.33.0, as its image is called. Raises InputError, which begins with `where`, for any other.
    """
    version = parse_version(text)
    if len(version.release) == 2 and version.public == version.base_version and version.local is None:
        version = Version(f"{version}.0")
    if version.epoch:
        raise InputError(f"{where}: {text}: no release of vLLM has an epoch; write for example {NEWEST}")
    if version.major == OLDEST.major and version.minor < OLDEST.minor - MINORS_BEHIND:
        raise InputError(f"{where}: {version}: too old; planner knows vLLM {OLDEST} to {NEWEST}")
    if version.major > NEWEST.major or version.minor > NEWEST.minor + MINORS_AHEAD:
        raise InputError(f"{where}: {version}: not a release that planner can judge; it knows {OLDEST} to {NEWEST}")
    return version


def version_doubt(version: Version) -> str | None:
    """What to say of a release that is older or newer than the facts above; None of one that they cover."""
    if OLDEST.release[:2] <= version.release[:2] <= NEWEST.release[:2]:
        return None
    age, end = ("older", OLDEST) if version < OLDEST else ("newer", NEWEST)
    return f"vLLM {version} is {age} than planner knows: judged by the rules of {end.major}.{end.minor}"


def knows(version: Version, field: str) -> bool:
    """Whether this version accepts the setting; the attention backend is a variable before it is a flag.

    The table of flags says so (flag_table.py); what is no flag in it, as a variable of the environment, is accepted. A
    version that is not in it has the flags of the nearest earlier one.
    """
    name = "--" + field.replace("_", "-")
    return field == ATTENTION_BACKEND or name not in every_flag() or release_of(version).knows(name)
