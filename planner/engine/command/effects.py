"""What each flag of vLLM that is no setting of `EngineConfig` does to memory: nothing, or something not modelled.

In: a flag as it was given. Out: a `FlagEffect` with its reason. A flag that is not classified counts as one that may
move memory. Names are written as fields, `served_model_name`; the settings themselves are in config.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from planner.engine.command.compiling import CONFIG, SIZES, effect_on_graphs
from planner.engine.command.inputs import LIMITS, image_size, left_out
from planner.engine.command.words import GivenFlag

NOT_KNOWN = "what it does to memory is not known here"
MOST = 1.0
"""Share of a card for a flag that may change the model itself."""


@dataclass(frozen=True, slots=True)
class FlagEffect:
    """What a flag does beside the settings that an estimate is made of."""

    reason: str
    share: float = 0.0
    """Most of a card's memory that it may take, as a share: 0 if it takes none. A guess, where not said otherwise."""
    is_doubt: bool = False
    """Whether it moves memory, up or down, and the estimate is without it."""
    images_only: bool = False
    """Whether it matters only to a model that reads images."""


SET_ASIDE: dict[str, str] = {
    "the HTTP server's": """host port uds url root_path middleware uvicorn_log_level disable_uvicorn_access_log
        disable_access_log_for_endpoints allow_credentials allowed_headers allowed_methods allowed_origins api_key
        ssl_ca_certs ssl_cert_reqs ssl_certfile ssl_ciphers ssl_keyfile enable_ssl_refresh h11_max_header_count
        h11_max_incomplete_event_size disable_fastapi_docs enable_offline_docs enable_request_id_headers
        disable_frontend_multiprocessing enable_server_load_tracking enable_tokenizer_info_endpoint api_server_count
        headless grpc grpc_port shutdown_timeout sse_keep_alive_interval tokens_only fingerprint_mode fingerprint_value
        data_parallel_supervisor_port dp_supervisor_probe_failure_threshold dp_supervisor_probe_interval_s
        dp_supervisor_probe_timeout_s max_num_queued_reqs max_num_queued_tokens renderer_num_workers
        enable_scale_out""",
    "about names, chats and tools": """model model_name served_model_name chat_template chat_template_content_format
        default_chat_template_kwargs trust_request_chat_template response_role tool_call_parser tool_parser_plugin
        tool_server tool_strict_level enable_auto_tool_choice exclude_tools_when_tool_choice_none
        expand_tools_even_if_tool_choice_none reasoning_parser reasoning_parser_plugin enable_reasoning reasoning_config
        reasoning_effort_map anthropic_disabled_thinking_effort cohere_format cohere_is_reasoning_model system_prompt
        return_tokens_as_token_ids enable_prompt_tokens_details enable_force_include_usage interleave_mm_strings
        trust_request_mm_kwargs""",
    "about logs and metrics": """disable_log_requests enable_log_requests enable_log_outputs enable_log_deltas
        max_log_len disable_log_stats log_config_file logging_config log_level log_error_stack aggregate_engine_logging
        enable_logging_iteration_details collect_detailed_traces otlp_traces_endpoint show_hidden_metrics_for_version
        kv_cache_metrics kv_cache_metrics_sample cudagraph_metrics enable_mfu_metrics enable_per_request_metrics
        per_request_spec_decode_metrics custom_histogram_buckets fail_on_environ_validation jit_monitor_mode
        jit_monitor_verbose enable_layerwise_nvtx_tracing ray_workers_use_nsight profiler_config version
        kv_events_config eplb_log_balancedness watchdog_config""",
    "about the tokenizer and files": """tokenizer tokenizer_mode tokenizer_revision tokenizer_pool_extra_config
        tokenizer_pool_size tokenizer_pool_type skip_tokenizer_init revision code_revision download_dir hf_config_path
        hf_token config config_format ignore_patterns generation_config override_generation_config
        allowed_local_media_path allowed_media_domains io_processor_plugin safetensors_load_strategy
        safetensors_prefetch_block_size safetensors_prefetch_num_threads use_tqdm_on_load pt_load_map_location
        max_parallel_loading_workers media_io_kwargs allow_deprecated_quantization""",
    "about sampling and output": """seed max_logprobs logprobs_mode guided_decoding_backend
        guided_decoding_disable_additional_properties guided_decoding_disable_any_whitespace
        guided_decoding_disable_fallback structured_outputs_config logits_processor_pattern logits_processors
        use_fp64_gumbel stream_interval multi_step_stream_outputs disable_logprobs_during_spec_decoding
        return_sampling_mask override_pooler_config pooler_config use_gpu_for_pooling_score""",
    "about how hosts find each other": """data_parallel_address data_parallel_rpc_port data_parallel_backend
        data_parallel_rank data_parallel_start_rank data_parallel_external_lb data_parallel_hybrid_lb
        data_parallel_multi_port_external_lb master_addr master_port node_rank distributed_timeout_seconds
        cpu_distributed_timeout_seconds numa_bind numa_bind_cpus numa_bind_nodes dp_sync_interval device_ids
        disable_nccl_for_dp_synchronization""",
    "about speed alone, which is predicted without it": """distributed_executor_backend worker_use_ray scheduling_policy
        preemption_mode disable_async_output_proc disable_cascade_attn performance_mode prefix_caching_hash_algo
        prefix_match_unit use_v2_block_manager scheduler_reserve_full_isl prefill_schedule_interval
        max_num_scheduled_tokens long_prefill_token_threshold_adaptive enable_flashinfer_autotune
        disable_chunked_mm_input eplb_step_interval eplb_window_size expert_placement_strategy gdn_prefill_backend
        kda_prefill_backend kda_decode_backend sparse_indexer_topk_backend spec_decoding_acceptance_method
        typical_acceptance_sampler_posterior_alpha typical_acceptance_sampler_posterior_threshold
        speculative_disable_by_batch_size speculative_disable_mqa_scorer cp_kv_cache_interleave_size
        dcp_kv_cache_interleave_size ir_op_priority""",
    "about host memory": """max_cpu_loras mm_processor_cache_gb mm_processor_cache_type mm_shm_cache_max_object_size_mb
        disable_mm_preprocessor_cache mm_hasher_algorithm kv_offloading_backend""",
}
"""Flags without an effect on GPU memory, by what they are about."""

UNMODELLED: dict[str, tuple[float, str]] = {
    "room for LoRA adapters is counted with the weights; what they take in activations and graphs is not modelled": (
        0.01,
        """enable_lora max_loras max_lora_rank lora_modules fully_sharded_loras default_mm_loras max_lora_cls_labels
        lora_target_modules specialize_active_lora""",
    ),
    "adapters of this kind take memory, which is not modelled": (
        0.1,
        """lora_dtype lora_extra_vocab_size enable_lora_bias long_lora_scaling_factors enable_mixed_moe_lora_format
        enable_moe_shared_loras enable_tower_connector_lora qlora_adapter_name_or_path enable_prompt_adapter
        max_prompt_adapters max_prompt_adapter_token prompt_adapters""",
    ),
    "a draft takes memory for buffers, and for weights if its config is not here, which are not modelled": (
        0.15,
        """speculative_config speculative_model speculative_model_quantization speculative_draft_tensor_parallel_size
        speculative_max_model_len num_speculative_tokens ngram_prompt_lookup_max ngram_prompt_lookup_min spec_method
        spec_model spec_tokens num_lookahead_slots""",
    ),
    "CUDA graphs and torch.compile take another amount of memory, which is not modelled": (
        0.05,
        "compilation_config cudagraph_capture_sizes cuda_graph_sizes kernel_config attention_config",
    ),
    "the transfer of the KV cache may keep buffers on the card, which are not modelled": (
        0.05,
        "kv_transfer_config kv_offloading_size ec_transfer_config ec_manager_config weight_transfer_config",
    ),
    "its allocator keeps what is freed while the weights are loaded; after that nothing differs": (
        0.0,
        """enable_sleep_mode enable_cumem_allocator sleep_mode_backend sleep_mode_offload_cudagraph
        sleep_preserve_parameter_names""",
    ),
    "copies of experts and buffers between ranks take memory, which is not modelled": (
        0.1,
        """enable_eplb eplb_config num_redundant_experts all2all_backend enable_dbo ubatch_size
        dbo_decode_token_threshold dbo_prefill_token_threshold enable_elastic_ep elastic_ep_max_dp_size
        enable_ep_weight_filter enable_nccl_comm_suspend enable_fault_tolerance fault_tolerance_config""",
    ),
    "the KV cache is divided or kept in another way, which is not modelled": (
        0.1,
        """decode_context_parallel_size prefill_context_parallel_size dcp_comm_backend dcp_q_replicate
        disable_sliding_window disable_hybrid_kv_cache_manager kv_sharing_fast_prefill kv_cache_dtype_skip_layers
        calculate_kv_scales mamba_block_size mamba_cache_dtype mamba_cache_mode mamba_ssm_cache_dtype mamba_backend
        mamba_ssu_algorithm enable_mamba_cache_stochastic_rounding mamba_cache_philox_rounds
        enable_mamba_fine_grained_prefix_cache enable_mamba_shared_prefix_checkpoint use_replayssm replayssm_buffer_len
        swa_bounded_replay max_num_active_seqs prefix_cache_retention_interval watermark""",
    ),
    "the ranks of several hosts are not modelled: the cards of one host are": (
        0.0,
        "nnodes data_parallel_size_local",
    ),
    "it offloads weights to the host in a way that is not modelled": (
        0.0,
        """offload_backend offload_group_size offload_num_in_group offload_params offload_prefetch_step
        cpu_offload_params""",
    ),
    "kernels may keep another workspace, which is not modelled": (
        0.05,
        """moe_backend linear_backend override_attention_dtype enable_batch_sharded_sampling
        enable_bf16x3_router_gemm enable_hc_sp monokernel enable_return_routed_experts aux_output_config
        enable_prompt_embeds enable_flash_late_interaction enable_trace_replay enable_shm_tensor_arena""",
    ),
    "it may change the model itself, which is estimated as its config.json has it": (
        MOST,
        """hf_overrides rope_scaling rope_theta model_impl runner convert task quantization_config
        quantization_param_path model_class_overrides worker_cls worker_extension_cls scheduler_cls additional_config
        model_loader_extra_config device override_neuron_config diffusion_config engram_config watermark_config""",
    ),
}
"""Flags that move memory in a way that is not modelled: reason -> (most of a card's memory that it may take, a guess;
names)."""

OF_IMAGES: dict[str, tuple[float, str]] = {
    "the images that are profiled are not modelled with it": (
        0.1,
        """limit_mm_per_prompt mm_processor_kwargs skip_mm_profiling mm_encoder_tp_mode
        enable_multimodal_encoder_data_parallel mm_encoder_attn_backend mm_encoder_attn_dtype mm_encoder_fp8_scale_path
        mm_encoder_fp8_scale_save_margin mm_encoder_fp8_scale_save_path mm_ipc_gpu_memory_gb mm_tensor_ipc
        mm_processor_device mm_device_do_normalize video_pruning_rate video_pruning_method enable_mm_embeds""",
    ),
    "parts of the model are not loaded, which is not modelled": (0.0, "language_model_only mm_encoder_only"),
}
"""The same, of models that read images."""


def _table() -> dict[str, FlagEffect]:
    found: dict[str, FlagEffect] = {}
    for reason, names in SET_ASIDE.items():
        found |= dict.fromkeys(names.split(), FlagEffect(reason))
    for images_only, table in ((False, UNMODELLED), (True, OF_IMAGES)):
        for reason, (share, names) in table.items():
            found |= dict.fromkeys(names.split(), FlagEffect(reason, share, is_doubt=True, images_only=images_only))
    return found


EFFECTS = _table()
"""The effect of every classified flag, by its field's name."""
NEUTRAL: dict[str, frozenset[str]] = {
    "task": frozenset({"auto", "generate"}),
    "runner": frozenset({"auto", "generate"}),
    "convert": frozenset({"auto", "none"}),
    "device": frozenset({"auto", "cuda"}),
    "model_impl": frozenset({"auto", "vllm"}),
    "moe_backend": frozenset({"auto"}),
    "linear_backend": frozenset({"auto"}),
    "mamba_backend": frozenset({"auto"}),
    "mamba_cache_dtype": frozenset({"auto"}),
    "mamba_ssm_cache_dtype": frozenset({"auto"}),
    "nnodes": frozenset({"1"}),
    "decode_context_parallel_size": frozenset({"1"}),
    "prefill_context_parallel_size": frozenset({"1"}),
    "num_redundant_experts": frozenset({"0"}),
    "kv_offloading_size": frozenset({"0"}),
    "video_pruning_rate": frozenset({"0", "0.0"}),
}
"""Values that leave a flag's default as it is (vllm@0.33.0 config), so that nothing moves."""
PLAIN_LEVELS = {"3", "2"}
"""Values of -O that are V1's default or compile as it does."""
EAGER = FlagEffect("counted as enforce_eager; the kernels that it chooses are not modelled", 0.01, is_doubt=True)
"""Effect of a compilation config that leaves out both compilation and graphs."""
GRAPHS_COUNTED = FlagEffect(
    "the CUDA graphs that it asks for are counted; the kernels that it chooses are not modelled", 0.01, is_doubt=True
)
"""Effect of a compilation config that says the kinds or sizes of graphs."""

POOLING = {
    "runner": frozenset({"pooling"}),
    "task": frozenset({"embed", "embedding", "classify", "score", "reward"}),
    "convert": frozenset({"embed", "classify", "reward"}),
}
"""Flags that say that a model pools, and the values with which they do (vllm@0.9.2 config.py:TaskOption, 0.24.0
config/model.py:RunnerOption, ConvertOption)."""
POOLS = FlagEffect("the model pools: its head is not loaded")

SIZED = FlagEffect("images are profiled in this size, which one start has shown", 0.01, is_doubt=True, images_only=True)
"""Effect of limits that say the size of images and allow no videos."""


def effect_of(given: GivenFlag) -> FlagEffect:
    """The effect of a flag that is no setting of EngineConfig. A boolean that is off has none."""
    name = given.flag.field
    found = EFFECTS.get(name)
    if name in {CONFIG, *SIZES}:
        return _effect_of_graphs(given)
    if name == LIMITS and image_size([given]) is not None and "video" in left_out([given]):
        return SIZED
    if pools(given):
        return POOLS
    if found is None:
        return FlagEffect(NOT_KNOWN, MOST, is_doubt=True)
    if found.is_doubt and (given.is_off or _is_neutral(name, given.values)):
        return FlagEffect("as without it")
    return found


def pools(given: GivenFlag) -> bool:
    """Whether a flag makes a pooling model of any, whose head is then not loaded (vllm@0.24.0
    models/adapters.py:_create_pooling_model_cls)."""
    return bool(given.values) and given.values[0] in POOLING.get(given.flag.field, ())


def _is_neutral(name: str, values: tuple[str, ...]) -> bool:
    value = values[0] if values else ""
    return value in NEUTRAL.get(name, ())


def _effect_of_graphs(given: GivenFlag) -> FlagEffect:
    """The effect of a compilation config, or of a list of captured batches."""
    value = given.values[0] if given.values else ""
    if given.flag.field == CONFIG and re.fullmatch(r"\d", value):
        return FlagEffect("as without it") if value in PLAIN_LEVELS else EFFECTS[CONFIG]
    match effect_on_graphs(given):
        case "none":
            return FlagEffect("as without it")
        case "eager":
            return EAGER
        case "counted":
            return GRAPHS_COUNTED
    return EFFECTS[given.flag.field]
