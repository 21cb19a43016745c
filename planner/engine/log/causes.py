"""The table of failures: `CAUSES` by weight, each with its signs, whose fault it is and the cure.

Texts read in vllm 0.6.6.post1, 0.8.5, 0.10.2, 0.12.0, 0.24.0, 0.32.0 and 0.33.0, and in public logs of 0.6 to 0.33.
"""

from __future__ import annotations

from collections.abc import Mapping

from planner.engine.log.cause import Cause
from planner.engine.versions import ATTENTION_BACKEND_FLAG_SINCE, COMPILATION_MODE_SINCE, V1_ONLY_SINCE
from planner.errors import EngineCrashed, EngineOutOfMemory, EngineRejected

_PYDANTIC = r"Input should be|Extra inputs are|Unexpected keyword|Field required|Unable to parse"
_NEWER = "Take a newer vLLM image, whose compilers know the card"

CAUSES: Mapping[str, Cause] = {cause.name: cause for cause in (
    # ------------------------------------------------------------ memory
    Cause("KV cache too small", EngineOutOfMemory, "setting",
          "Lower max_model_len or raise gpu_memory_utilization; more cards (tensor_parallel_size), a quantised model "
          "or an fp8 kv_cache_dtype leave more. planner estimate --fit max_model_len finds the longest that fits.",
          (r"larger than the maximum number of tokens that can be stored in KV cache",
           r"To serve at least one request with the model")),
    Cause("no room for a KV cache", EngineOutOfMemory, "setting",
          "Weights and the profile's peak fill the budget: raise gpu_memory_utilization, lower "
          "max_num_batched_tokens, or use more cards or a smaller model. planner estimate with these settings says "
          "what fits.",
          (r"No available memory for the cache blocks", r"Cannot auto-fit max_model_len: not enough GPU memory")),
    Cause("too few Mamba blocks", EngineOutOfMemory, "setting",
          "Each request of a model with Mamba layers holds one block of state: lower max_num_seqs to the number of "
          "blocks in the message, or make room with gpu_memory_utilization.",
          (r"exceeds available Mamba cache blocks",)),
    Cause("card already in use", EngineOutOfMemory, "outside",
          "Another process holds memory of the card (nvidia-smi): end it, or lower gpu_memory_utilization below the "
          "free share.",
          (r"Free memory on device .{0,300}on startup is less than",),
          (r"Free memory on device|Externally held weights on device",)),
    Cause("out of memory", EngineOutOfMemory, "setting",
          "Lower max_num_batched_tokens, max_num_seqs or gpu_memory_utilization. planner estimate with these "
          "settings says what fits.",
          (r"CUDA out of memory occurred when warming up", r"(?:CUDA|HIP|XPU) out of memory",
           r"CUDA (?:driver )?error: out of memory|Cuda failure 2 'out of memory'|CUBLAS_STATUS_ALLOC_FAILED",
           r"Triton Error \[CUDA\]: out of memory|RESOURCE_EXHAUSTED: .{0,80}allocat")),
    Cause("host memory too small", EngineOutOfMemory, "machine",
          "Give the machine or container more memory, or ask for less: VLLM_CPU_KVCACHE_SPACE or "
          "gpu_memory_utilization on a CPU, swap_space and cpu_offload_gb on cards.",
          (r"Available memory on node .{0,300}less than desired CPU memory utilization",
           r"on kv cache allocation is less than requested memory for kv",
           r"Aborted due to the lack of CPU swap space",
           r"DefaultCPUAllocator: (?:can't allocate|not enough) memory|Cannot allocate memory", r"^MemoryError\b",
           r"Workers \(tasks / actors\) killed due to memory pressure|ray\.exceptions\.OutOfMemoryError",
           r"oom_kill event|OOM[ -]?Killed|killed by the OOM killer|'oom-kill'|[Oo]ut of memory: Killed process"
           r"|task [\d,-]{1,40}: Out Of Memory"),
          (r"Too large swap space|The worker already uses .{0,300} of CPU memory",),
          later=(V1_ONLY_SINCE,
                 "Give the machine or container more memory (docker run --memory, the pod's limit), or ask for less: "
                 "VLLM_CPU_KVCACHE_SPACE or gpu_memory_utilization on a CPU, cpu_offload_gb and kv_offloading_size "
                 "on cards.")),
    # ------------------------------------------------------------ flags and settings
    Cause("bad flag", EngineRejected, "setting",
          "Correct or remove the flag; `vllm serve --help` of the version that runs lists what it takes.",
          (r"(?:^|\s)(?:vllm(?: serve)?|[\w-]{1,60}\.py): error: (?P<words>.+)",
           rf"^\s+(?P<field_words>(?:{_PYDANTIC}).*?)(?: \[type=\w+, .*)?$"),
          (r"Unknown architecture modifier|invalid tool call parser|invalid reasoning parser",)),
    Cause("bad setting", EngineRejected, "setting", "Change the setting that the message names.",
          (r"(?:^|\s)Value error, (?P<words>.+?)(?: \[type=\w+, .*)?$",)),
    Cause("batch too small", EngineRejected, "setting",
          "Raise max_num_batched_tokens to at least max_num_seqs and, without chunked prefill, to max_model_len; or "
          "turn enable_chunked_prefill on.",
          said=(r"max_num_batched_tokens .{0,300}(?:is smaller than max_model_len|must be greater than or equal)",)),
    Cause("multimodal item larger than a batch", EngineRejected, "setting",
          "Raise max_num_batched_tokens above the number of tokens of one item that the message names, or limit the "
          "item: limit_mm_per_prompt, mm_processor_kwargs.",
          said=(r"max_tokens_per_mm_item .{0,300}max_num_batched_tokens",)),
    Cause("context too long", EngineRejected, "setting",
          "Lower max_model_len to the model's own length, or scale its rope (hf_overrides).",
          said=(r"User-specified max_model_len|is greater than the derived max_model_len",)),
    Cause("LoRA rank too high", EngineRejected, "setting",
          "Raise max_lora_rank to the adapter's rank (8 to 512), or load another adapter.",
          said=(r"LoRA rank .{0,100}greater than max_lora_rank",)),
    Cause("no chat template", EngineRejected, "model",
          "Give --chat-template FILE, or take the instruct variant of the model.",
          said=(r"default chat template is no longer allowed",)),
    Cause("layout impossible", EngineRejected, "setting",
          "Choose a tensor_parallel_size that divides the model's heads and is at most the number of visible cards.",
          (r"is less than than max local gpu count|to less than max local gpu count|invalid device ordinal",),
          (r"must be divisible by tensor parallel size|is not divisible by|num_kv_heads % tp_size",
           r"larger than the number of available GPUs|Unable to load Ray|aligned with the quantized",
           r"World size \(\d+\) is larger|not divisible by weight quantization block_n")),
    # ------------------------------------------------------------ the model and its files
    Cause("model files", EngineRejected, "model",
          "Check the path as the container sees it (a volume?) and that config.json, tokenizer and weights are "
          "there; for a name on the Hub: network, HF_TOKEN, and the terms of a gated model.",
          (r"Repo id must be|is not a valid model identifier|Invalid repository ID or local directory",
           r"does not appear to have a file named|Cannot find any model weights|Cannot access gated repo"),
          (r"(?<!object file: )No such file or directory|FileNotFoundError|is not a local folder|401 Client Error",
           r"GatedRepo|Can't load (?:the configuration|tokenizer|config|image processor)|Temporary failure in name",
           r"SafetensorError|Error while deserializing header|couldn't connect to|LocalEntryNotFound|MaxRetryError",
           r"RepositoryNotFound|RevisionNotFound|404 Client Error|No supported config format|Weights only load",
           r"UnpicklingError|JSONDecodeError|429 Client Error|CERTIFICATE_VERIFY_FAILED|from libstreamer due to",
           r"huggingface\.co.{0,200}timed out|not a valid JSON file|(?:failed to|error) download")),
    Cause("model not supported", EngineRejected, "model",
          "This version does not know the architecture: take a newer vLLM, or set trust_remote_code if the model "
          "brings its own code.",
          (r"Model architectures .{0,300} are not supported",),
          (r"(?i)does not recognize this architecture|unrecognized (?:configuration class|model in)",
           r"(?i)unknown gguf model_type|architectures? .{0,300}not supp|trust_remote_code",)),
    Cause("checkpoint does not fit the code", EngineRejected, "model",
          "The names or shapes of the weights are not those of vLLM's class: take the newest vLLM and transformers, "
          "or another quantisation of the model; an adapter goes to --lora-modules.",
          (r"There is no module or parameter named|[Ff]ollowing weights were not initialized from",),
          (r"KeyError: '\S{0,100}(?:layers|experts|lm_head|visual|weight|scale|mlp|attn)\S{0,100}'",
           r"size mismatch for|in the model's quantization config",
           r"shape of .{0,80}(?:does not match|mismatch)|param_data\.shape == loaded_weight\.shape"
           r"|Attempted to load weight .{0,100}into parameter")),
    # ------------------------------------------------------------ what the card or the driver cannot do
    Cause("card broken", EngineCrashed, "machine",
          "The card itself failed: nvidia-smi -q (ECC, Xid; amd-smi), dmesg | grep -i xid; reset the card or the host, "
          "leave it out by CUDA_VISIBLE_DEVICES, and have it replaced if it fails again.",
          (r"uncorrectable (?:ECC|NVLink)|GPU is lost|NVMLError_GpuIsLost|fallen off the bus|GPU requires reset",
           r"NVRM: Xid|Memory critical error by agent|HW Exception by GPU"),
          is_outside=True),
    Cause("driver does not fit", EngineCrashed, "environment",
          "The driver and the CUDA of the image do not go together: a newer driver, or an image for an older CUDA; "
          "inside a container remove CUDA's compat libraries from LD_LIBRARY_PATH (803), on hosts with NVSwitch start "
          "nvidia-fabricmanager of the driver's version (802), and restart after a driver update (nvidia-smi must "
          "work).",
          (r"Error 80[0-9]: |unsupported display driver / cuda driver combination|forward compatibility was attempted",
           r"NVIDIA driver on your system is too old|CUDA driver version is insufficient|unsupported toolchain",
           r"Driver/library version mismatch|NVMLError_\w{3,40}|nvidia-container-cli: |unsatisfied condition: cuda"),
          is_outside=True),
    Cause("card named by UUID", EngineCrashed, "environment",
          "This version reads CUDA_VISIBLE_DEVICES as numbers: give indices (0,1) instead of GPU- or MIG-UUIDs, or "
          "take a newer vLLM.",
          (r"invalid literal for int\(\) with base 10: '(?:GPU|MIG)-",),
          is_outside=True),
    Cause("no kernel for this card", EngineCrashed, "kernel",
          "This wheel or image has no code for the card's compute capability: take the image for the newest CUDA (new "
          "cards) or an older vLLM (old cards), or build vLLM with TORCH_CUDA_ARCH_LIST set to the card's.",
          (r"no kernel image is available|device kernel image is invalid|likely was not compiled due to",
           r"is not compatible with the current PyTorch installation",
           r"cudaErrorNoKernelImageForDevice|cutlass_\w{1,60} not supported on this|No compiled cutlass_")),
    Cause("card not capable", EngineRejected, "setting",
          "The card lacks what these settings ask: try dtype half, another attention backend "
          "(VLLM_ATTENTION_BACKEND), kv_cache_dtype auto, or a quantization that the card runs.",
          (r"FlashAttention only supports Ampere|For FP8 input, output must have dtype",
           r"out of resource: shared memory|fp8\w{1,20} not supported in this architecture"),
          (r"not supported for the current GPU|Bfloat16 is only supported|Invalid attention backend",
           r"is not supported for quantization method|No valid attention backend|FP8 KV cache is not|Min(?:imum)? "
           r"capability|Failed to find a kernel that can implement|does not support the deployment configuration",
           r"(?:not (?:supported|available)|only supported|requires?|unsupported) .{0,60}(?:\bSM ?\d|\bsm_?\d\d|"
           r"[Cc]ompute capability|(?:this|the current|current) (?:device|GPU|platform|architecture)\b)"),
          later=(ATTENTION_BACKEND_FLAG_SINCE,
                 "The card lacks what these settings ask: try dtype half, another attention_backend, kv_cache_dtype "
                 "auto, or a quantization that the card runs.")),
    Cause("attention backend not valid", EngineRejected, "setting",
          "Leave VLLM_ATTENTION_BACKEND out, or name a backend that the message does not rule out.",
          said=(r"Selected backend .{0,200}not valid|Unknown attention backend|Unrecognized attention backend"
                r"|only supported (?:in|by|with) Flash\w{4,20}",),
          later=(ATTENTION_BACKEND_FLAG_SINCE,
                 "Leave --attention-backend out, or name a backend that the message does not rule out.")),
    Cause("no unified addresses (WSL)", EngineRejected, "machine",
          "WSL2 has no pinned memory that cards can address: leave cpu_offload_gb and KV offloading out and set "
          "VLLM_USE_V2_MODEL_RUNNER=0, or run under Linux.",
          (r"requires (?:uva|UVA)|UVA is not (?:available|supported)|\buva \(pin memory\)",)),
    # ------------------------------------------------------------ the installation
    Cause("no user entry", EngineCrashed, "environment",
          "The container runs under a user number that /etc/passwd does not have: set USER, HOME and "
          "TORCHINDUCTOR_CACHE_DIR to a writable folder, add the user, or run as root.",
          (r"getpwuid\(\): uid not found|no username set in the environment",),
          is_outside=True),
    Cause("CUDA before fork", EngineCrashed, "environment",
          "The process used CUDA before vLLM forked its workers: set VLLM_WORKER_MULTIPROC_METHOD=spawn, guard the "
          "script by if __name__ == '__main__', and do not touch torch.cuda before.",
          (r"Cannot re-initialize CUDA in forked subprocess|start a new process before the\s+current process has",
           r"An attempt has been made to start a new process before|signal only works in main thread"),
          is_outside=True),
    Cause("image not found", EngineCrashed, "environment",
          "The registry does not give the image: check its name and tag (docker pull NAME:TAG by hand), log in for a "
          "private one, and look for a tag of this machine's architecture.",
          (r"(?:manifest for|pull access denied for|repository) .{1,300}(?:not found|does not exist|denied)"
           r"|manifest unknown|(?:Err|Back-?off )Image ?Pull|no matching manifest for",),
          is_outside=True),
    Cause("broken installation", EngineCrashed, "environment",
          "A module or library is missing, or packages of different builds are mixed: install vLLM alone into a fresh "
          "environment (uv pip install vllm --torch-backend=auto), with the torch and transformers that it pins, or "
          "take the image vllm/vllm-openai.",
          (r"undefined symbol: |GLIBC(?:XX)?_[\d.]{1,10}' not found|_OpNamespace' '\w{1,30}' object has no attribute",
           r"Please install vllm\[|numpy\.dtype size changed",
           r"\bvllm: (?:command )?not found|executable file not found in|exec format error"
           r"|python[\d.]{0,6}: (?:No module named|Error while finding module specification for) '?vllm\b"),
          (r"No module named|\.so[.\d]{0,12}: cannot open shared object|cannot import name|ImportError|"
           r"ModuleNotFoundError|PackageNotFoundError|DistributionNotFound",
           r"module '[\w.]{1,80}' has no attribute|has no attribute 'all_special_tokens_extended'|VersionConflict"
           r"|is required for a normal functioning of this module|operator \w{1,20}::\w{1,60} does not exist",
           r"\bpip3? install \S|package is not found|is not installed|Could not run '\S{1,80}' with arguments from the"
           r"|Version mismatch: The cluster|Couldn't instantiate the backend tokenizer")),
    # ------------------------------------------------------------ compilers on the machine
    Cause("compile cache", EngineCrashed, "machine",
          "What torch.compile left on disk is damaged or of another version: rm -r ~/.cache/vllm/torch_compile_cache "
          "(VLLM_CACHE_ROOT), also the mounted one, or start once with VLLM_DISABLE_COMPILE_CACHE=1.",
          (r"failed to get the hash of the compiled graph|torch_aot_compile/\S{1,200}(?:Error|corrupt)",),
          (r"Error (?:loading|deserializing) .{0,60}(?:compile|AOT)|Bytecode object .{0,40}version mismatch",)),
    Cause("no C compiler", EngineCrashed, "kernel",
          "Triton and Inductor compile on this machine: install gcc and the headers of libc and Python (apt install "
          "build-essential python3-dev), or set CC; the image vllm/vllm-openai has them.",
          (r"Failed to find C compiler|fatal error: [\w/.]{1,80}\.h: No such file|cannot find -lcuda\b",),
          (r"CalledProcessError: Command '\[?'?[\w/.-]{0,120}(?:gcc|clang|/cc|g\+\+)\b",)),
    Cause("ptxas does not know the card", EngineCrashed, "kernel",
          "The ptxas in Triton's package is older than the card: set TRITON_PTXAS_PATH=/usr/local/cuda/bin/ptxas "
          "(CUDA 12.9 or 13 for sm_120 and sm_121). " + _NEWER + ".",
          (r"(?P<words>ptxas fatal\s{0,5}: .+)", r"PTXASError|Internal Triton PTX codegen error")),
    Cause("FlashInfer cannot compile", EngineCrashed, "kernel",
          "FlashInfer compiles kernels at the start with nvcc: the CUDA toolkit (CUDA_HOME, nvcc) must know the card "
          "(12.9 for sm_120). " + _NEWER + ", set FLASHINFER_CUDA_ARCH_LIST, or rm -r ~/.cache/flashinfer. Without it: "
          "VLLM_USE_FLASHINFER_SAMPLER=0 and attention backend FLASH_ATTN.",
          (r"No supported CUDA architectures found for major|FlashInfer requires GPUs with sm",
           r"Ninja build failed|Could not find nvcc|nvcc fatal|CUDA_HOME environment variable is not set",
           r"No such file or directory: '[\w/.-]{0,100}\b(?:ninja|nvcc)'")),
    Cause("Triton cannot compile", EngineCrashed, "kernel",
          "Triton's compiler failed on a kernel for this card: take a newer vLLM with its triton (new cards need "
          "3.3 or later; Volta and Turing another kernel), or rule the kernel out: another attention backend, "
          "quantization or enforce_eager.",
          (r"PassManager::run failed|computeCapability not supported|LLVM ERROR: |triton\.compiler\.errors\.",)),
    # ------------------------------------------------------------ the machine
    Cause("port in use", EngineCrashed, "outside",
          "Another process, perhaps an earlier engine, listens on the port: stop it or choose another --port.",
          (r"(?i:address (?:already )?in use)|port is already allocated",),
          is_outside=True),
    Cause("shared memory too small", EngineCrashed, "machine",
          "Start the container with --ipc=host or --shm-size=8g.",
          (r"Insufficient space in /dev/shm|insufficient shared memory|/dev/shm.{0,300}No space|Bus error",
           r"No space left on device: '?/(?:dev/shm/)?(?:psm_|torch_|nccl)",
           r"unable to (?:open|mmap|resize|allocate) shared memory|Error while creating shared memory")),
    Cause("no card in a Ray worker", EngineCrashed, "environment",
          "Ray gave this process no card: ask for it (num_gpus of the actor, or a placement group with GPUs), start "
          "ray with --num-gpus, and set no CUDA_VISIBLE_DEVICES that Ray then overrides; ray status shows the cards of "
          "each node.",
          is_outside=True),
    Cause("no card visible", EngineCrashed, "environment",
          "Start the container with --gpus all and the NVIDIA runtime, and check nvidia-smi inside it; planner gpus "
          "says what is seen here.",
          (r"No CUDA GPUs are available|Failed to infer device type|Found no NVIDIA driver|libcuda\.so",
           r"Device string must not be empty|Can't initialize NVML|CUDA unknown error",
           r"could not select device driver|unresolvable CDI device|failed to inject CDI devices"),
          is_outside=True),
    Cause("Ray has no place", EngineCrashed, "environment",
          "The Ray cluster has fewer free cards than tensor_parallel_size x pipeline_parallel_size: ray status; start "
          "Ray on every node with its cards, end other jobs, and set VLLM_HOST_IP so that each node has one address.",
          (r"Cannot provide a placement group|number of required (?:GPUs|\w{1,10}s) exceeds|No available node types",
           r"Current node has no (?:GPU|\w{2,5}) available|placement group .{0,200}(?:timed? ?out|infeasible)"
           r"|Every node should have a unique IP|Could not find any running Ray instance")),
    Cause("CUDA error", EngineCrashed, "engine",
          "A kernel failed on the card: run once with CUDA_LAUNCH_BLOCKING=1, and with enforce_eager, to see whether "
          "graphs are at fault; then another attention backend, or a newer vLLM. dmesg | grep Xid tells of broken "
          "cards.",
          (r"CUDA error: .+|HIP error: .+|cudaError\w{4,40}|CUBLAS_STATUS_\w{1,40}|CUDNN_STATUS_\w{1,40}"
           r"|cuda(?:Malloc|Memcpy|IpcOpenMemHandle)\w{0,20} failed|custom_all_reduce\.cuh:\d{1,6}",
           r"unable to find an engine to execute|NVML_SUCCESS == r|Triton Error \[\w{3,5}\]: |HSA_STATUS_ERROR\w{0,40}"
           r"|Memory access fault by GPU|[Cc]uda error /\S{1,200} '|NPU function error",)),
    Cause("NCCL", EngineCrashed, "machine",
          "Cards or ranks cannot talk: run once with NCCL_DEBUG=INFO; then --ipc=host, disable_custom_all_reduce, "
          "NCCL_P2P_DISABLE=1 or, between machines, NCCL_SOCKET_IFNAME.",
          (r"NCCL error|ncclUnhandled\w+|ncclSystemError|ncclInternalError|ncclRemoteError|does not support multicast",
           )),
    Cause("ranks cannot connect", EngineCrashed, "machine",
          "A rank did not reach the first one: set VLLM_HOST_IP on every node, GLOO_SOCKET_IFNAME and "
          "NCCL_SOCKET_IFNAME to the interface between them, and open the ports (firewall, network policy).",
          (r"client socket has timed out|The client socket has failed to connect|TCP client failed to connect",
           r"[Gg]loo.{0,200}(?:connectFullMesh failed|Connection re(?:fused|set)|getaddrinfo|[Nn]o route|connect:)",
           r"Unable to resolve hostname|wait timeout after \d{1,9}ms|DistStoreError",
           )),
    Cause("device error", EngineCrashed, "engine",
          "The accelerator refused the compiled model: compile it anew for these shapes (clear the compiler's cache), "
          "and lower max_model_len or max_num_seqs to what it was compiled for; a newer plug-in of the vendor.",
          (r"Failed to execute the model status=|NRT_\w{3,40}|Execution Out-Of-Bounds",)),
    Cause("memory changed while profiling", EngineCrashed, "outside",
          "Another process released or took memory of the card during the start: start engines one after the other.",
          (r"Error in memory profiling",),
          is_outside=True),
    Cause("address not there", EngineCrashed, "setting",
          "No interface of this machine or container has the address: leave --host out, or 0.0.0.0 inside a "
          "container.",
          said=(r"Cannot assign requested address|\[Errno 99\]|Name or service not known",)),
    Cause("permission", EngineCrashed, "environment",
          "The engine's user may not do this: check the owner of mounted folders and caches (HF_HOME, "
          "VLLM_CACHE_ROOT), and take a port above 1023.",
          said=(r"Permission denied|\[Errno 13\]|Read-only file system",)),
    Cause("disk full", EngineCrashed, "machine",
          "Free space where caches and models lie (HF_HOME, VLLM_CACHE_ROOT, /tmp).",
          said=(r"No space left on device|\[Errno 28\]|Disk quota exceeded",),
          is_outside=True),
    Cause("too many open files", EngineCrashed, "machine",
          "Start with a higher limit: ulimit -n 65536, docker run --ulimit nofile=65536.",
          said=(r"Too many open files|\[Errno 24\]",),
          is_outside=True),
    Cause("too few processes allowed", EngineCrashed, "machine",
          "A limit on processes and threads is reached: docker run --pids-limit=-1, ulimit -u, the pod's pid limit, or "
          "fewer threads (OMP_NUM_THREADS=1, TOKENIZERS_PARALLELISM=false). With an old Docker on a new image: update "
          "Docker, or --security-opt seccomp=unconfined.",
          said=(r"can't start new thread|ThreadPoolBuildError|pthread_create failed|Resource temporarily unavailable",),
          is_outside=True),
    Cause("start took too long", EngineCrashed, "machine",
          "Raise VLLM_ENGINE_READY_TIMEOUT_S (VLLM_RPC_TIMEOUT for V0), or read the weights from a faster disk.",
          said=(r"(?i)timed out waiting for (?:new )?engine|Engine process .{0,300}timed? ?out",)),
    Cause("KV transfer failed", EngineCrashed, "machine",
          "The KV connector (NIXL, LMCache, Mooncake) or its network failed: start once without kv_transfer_config; "
          "then match the connector's package to this vLLM, give the container its RDMA devices and --ulimit "
          "memlock=-1, and set UCX_NET_DEVICES and VLLM_NIXL_SIDE_CHANNEL_HOST.",
          said=(r"NIXL_ERR_\w{3,40}|nixl\w{0,20}Error\b",)),
    # ------------------------------------------------------------ where frames and exception say what the words do not
    Cause("torch.compile", EngineCrashed, "engine",
          "torch.compile cannot trace or compile this model here: rm -r ~/.cache/vllm/torch_compile_cache, a newer "
          "vLLM, or do without: enforce_eager, or compilation_config level 0.",
          (r"torch\._dynamo\.exc\.|torch\._inductor\.exc\.",), is_weak=True,
          later=(COMPILATION_MODE_SINCE,
                 "torch.compile cannot trace or compile this model here: rm -r ~/.cache/vllm/torch_compile_cache, a "
                 "newer vLLM, or do without: enforce_eager, or --compilation-config.mode=0.")),
    Cause("accelerator's compiler", EngineCrashed, "engine",
          "The compiler of the accelerator's vendor failed on this model: lower max_model_len, max_num_seqs or "
          "tensor_parallel_size, see its own log for the reason, and take the plug-in's newest version."),
    Cause("model's code failed", EngineCrashed, "engine",
          "vLLM's code for this model failed: take a newer vLLM, or try enforce_eager and, for images, "
          "limit_mm_per_prompt and mm_processor_kwargs; look for the message in vLLM's issues."),
    Cause("request ended the engine", EngineCrashed, "request",
          "One request took the whole engine down, which is a fault of vLLM: take a newer version, find the request "
          "(enable_log_requests) and keep its like out: parameters, images or a prompt beyond what was configured."),
    Cause("fault inside vLLM", EngineCrashed, "engine",
          "vLLM's own code failed: take a newer version, look for the message in vLLM's issues, and leave out the "
          "setting that the frames name."),
    # ------------------------------------------------------------ consequences, and ends without a word
    Cause("ranks hang", EngineCrashed, "machine",
          "A rank did not answer in time: look for the first error above, also of other nodes; else try "
          "disable_custom_all_reduce or NCCL_P2P_DISABLE=1, and NCCL_DEBUG=INFO to see where. If it only computes "
          "for long: VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS.",
          (r"RPC call to .{0,300} timed out|collective operation timeout|Watchdog caught|MQLLMEngine didn't reply",
           r"RayChannelTimeoutError|Timed out waiting \d{1,12}ms for recv|Channel (?:read|write) timed out"
           r"|monitoredBarrier|sample_tokens timed out"), is_weak=True),
    Cause("crash in native code", EngineCrashed, "engine",
          "A process ended in compiled code: mixed builds of torch, NCCL and vLLM (a fresh environment), or another "
          "attention backend, disable_custom_all_reduce and enforce_eager show which part; the frames above name it.",
          (r"SIGSEGV received|Fatal Python error: (?:Segmentation|Aborted|Illegal)|^Segmentation fault"
           r"|exit code: -(?:11|6|4)\b|Signals\.SIG(?:SEGV|ABRT|ILL)|terminate called after throwing"
           r"|status=(?:11/SEGV|6/ABRT|4/ILL)|\bIllegal instruction\b|\(core dumped\)|by SIG(?:SEGV|ABRT|ILL)\b"
           r"|(?:exited|terminated) with (?:exit )?code 13[249]\b"
           r"|task [\d,-]{1,40}: (?:Segmentation fault|Aborted|Illegal)",), is_weak=True),
    Cause("Ray lost a worker", EngineCrashed, "machine",
          "Another node's process is gone: read that node's own log (ray logs, /tmp/ray/session_latest/logs); often "
          "its memory, its driver, or a different vLLM or Python there.",
          (r"ActorDiedError|The actor (?:died|is dead)|ActorUnavailableError|NodeDiedError|WorkerCrashedError"
           r"|LocalRayletDiedError",), is_weak=True),
    Cause("model not inspected", EngineRejected, "environment",
          "The model's class could not be imported, and the log does not say why: run python -c 'import vllm._C, "
          "transformers' in the same environment; often a missing package (pip install vllm[audio], timm), another "
          "transformers than the pinned one, or a user without passwd entry.",
          (r"Model architectures .{0,300} failed to be inspected|Error in inspecting model architecture",),
          is_weak=True),
    Cause("told to end", EngineCrashed, "outside",
          "Something ended it from outside (SIGTERM, Ctrl-C): raise the time that a liveness or start-up probe, "
          "systemd (TimeoutStartSec) or a script grants; the estimate of planner says how long a start takes.",
          is_outside=True),
    Cause("killed", EngineCrashed, "machine",
          "A process was ended from outside, most often because the host's memory ran out: see dmesg, and lower "
          "swap_space, cpu_offload_gb or the number of engines.",
          (r"(?:died|unexpectedly).{0,40}exit code: -9\b|Signals\.SIGKILL", r"^Killed\b|status=9/KILL|by SIGKILL\b"
           r"|(?:exited|terminated) with (?:exit )?code 137\b|task [\d,-]{1,40}: Killed"
           r"|\bKilled\s{1,20}\S{0,100}(?:vllm|python)",
           r"exit code: -7\b"),
          (r"killed \(exit code|bus error \(exit code",), is_weak=True,
          later=(V1_ONLY_SINCE,
                 "A process was ended from outside, most often because the host's memory ran out: see dmesg and the "
                 "container's limit, and lower cpu_offload_gb, kv_offloading_size or the number of engines.")),
    Cause("engine process gone", EngineCrashed, "machine",
          "The engine's process ended without a word while the server went on: often the host's memory (dmesg), a "
          "signal, or a crash in native code.",
          said=(r"output_handler failed|engine core .{0,300}unexpectedly|Engine core proc .{0,300} died|EngineDead"
           r"|died unexpectedly|Engine process .{0,40}died|Engine loop has died|fatal signal from worker",
           r"MQLLMEngine is already dead|exit code: -?[1-9]",)),
    Cause("reason not in this log", EngineCrashed, "engine",
          "Another process failed first and its words are missing here: give the whole log (docker logs without "
          "--tail), or that of the other node or process.",
          (r"Inspect the stacktrace to find the original error: (?P<words>.+)",),
          (r"Engine core initialization failed|Engine process failed to start|See (?:stack trace|root cause)",
           r"EngineCore failed to start|WorkerProc failed to start|exception in a background process"),
          is_weak=True),
    Cause("not in the table", EngineCrashed, "engine", "Its own words are all that is known."),
)}  # fmt: skip
"""Causes by weight: of several in one log the first counts. A rank that runs out of memory makes the others fail in
NCCL, often before it logs its own error."""
