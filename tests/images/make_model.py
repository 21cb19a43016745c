"""Make the tiny model that the tests serve: `python make_model.py DIR`.

A Qwen3ForCausalLM of 28 million random bf16 weights (57 MB) with a tokenizer of one
word per token. It says nothing sensible, but an engine loads and runs it like any
other model, in seconds and on a CPU. Only the standard library is used and the seed is
fixed, so every machine makes the same bytes without a download.
"""

import json
import random
import struct
import sys
from pathlib import Path
from statistics import NormalDist

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 512, 8, 8, 2, 64
INTERMEDIATE, VOCAB, MAX_POSITION = 1536, 4096, 32768
SPECIAL = ["<pad>", "<eos>", "<unk>", "<system>", "<user>", "<assistant>"]
PAD, EOS, UNK = 0, 1, 2

CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "torch_dtype": "bfloat16",
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD_DIM,
    "hidden_act": "silu",
    "max_position_embeddings": MAX_POSITION,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "attention_bias": False,
    "tie_word_embeddings": False,
    "pad_token_id": PAD,
    "eos_token_id": EOS,
}
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_max_length": MAX_POSITION,
    "pad_token": SPECIAL[PAD],
    "eos_token": SPECIAL[EOS],
    "unk_token": SPECIAL[UNK],
    "chat_template": "{% for m in messages %}<{{ m.role }}> {{ m.content }} {% endfor %}<assistant>",
}


def tokenizer() -> dict[str, object]:
    """A tokenizer.json: words split at spaces, `w6` to `w4095` known, others <unk>."""
    words = SPECIAL + [f"w{i}" for i in range(len(SPECIAL), VOCAB)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": word,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for i, word in enumerate(SPECIAL)
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: i for i, word in enumerate(words)},
            "unk_token": SPECIAL[UNK],
        },
    }


def shapes() -> dict[str, tuple[int, ...]]:
    """The name and shape of each weight."""
    out: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCAB, HIDDEN)}
    for i in range(LAYERS):
        layer = {
            "input_layernorm": (HIDDEN,),
            "self_attn.q_proj": (HEADS * HEAD_DIM, HIDDEN),
            "self_attn.k_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
            "self_attn.v_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
            "self_attn.o_proj": (HIDDEN, HEADS * HEAD_DIM),
            "self_attn.q_norm": (HEAD_DIM,),
            "self_attn.k_norm": (HEAD_DIM,),
            "post_attention_layernorm": (HIDDEN,),
            "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
            "mlp.up_proj": (INTERMEDIATE, HIDDEN),
            "mlp.down_proj": (HIDDEN, INTERMEDIATE),
        }
        out |= {f"model.layers.{i}.{k}.weight": shape for k, shape in layer.items()}
    return out | {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCAB, HIDDEN)}


def bf16(value: float) -> bytes:
    """`value` as the two bytes of a little-endian bfloat16 (cut, not rounded)."""
    return struct.pack("<f", value)[2:]


def write_weights(path: Path) -> None:
    """Write a safetensors file: norms are 1, all else normal with deviation 0.02."""
    normal = NormalDist(0, 0.02)
    table = [bf16(normal.inv_cdf((i + 0.5) / 256)) for i in range(256)]
    low, high = bytes(v[0] for v in table), bytes(v[1] for v in table)
    rng = random.Random(0)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = bytearray()
    for name, shape in shapes().items():
        start = len(body)
        if len(shape) == 1:
            body += bf16(1.0) * shape[0]
        else:
            # Each random byte picks one of 256 values: quick without numpy.
            picks = rng.randbytes(shape[0] * shape[1])
            data = bytearray(2 * len(picks))
            data[0::2], data[1::2] = picks.translate(low), picks.translate(high)
            body += data
        offsets = [start, len(body)]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": offsets}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(struct.pack("<Q", len(head)) + head + body)


def make_model(folder: Path) -> None:
    """Write the whole model to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {
        "config.json": CONFIG,
        "generation_config.json": {"pad_token_id": PAD, "eos_token_id": EOS},
        "tokenizer.json": tokenizer(),
        "tokenizer_config.json": TOKENIZER_CONFIG,
    }.items():
        (folder / name).write_text(json.dumps(content, indent=1) + "\n")
    write_weights(folder / "model.safetensors")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_model.py DIR")
    make_model(Path(sys.argv[1]))
