"""Layers as values: equal ones are kept once."""

from __future__ import annotations

from planner.model.layers import Attention, DeltaNet, Layer, LayerStack, Mamba, Mlp

FULL = Layer(
    mixers=(Attention(num_heads=8, num_kv_heads=2, head_dim=16, v_head_dim=16),),
    feed_forwards=(Mlp(intermediate_size=64),),
)
STATE = Layer(
    mixers=(DeltaNet(num_key_heads=2, key_head_dim=8, num_value_heads=4, value_head_dim=16, kernel_size=4),),
    feed_forwards=(Mlp(intermediate_size=64),),
)


def test_equal_layers_are_one_kind_and_keep_their_order() -> None:
    stack = LayerStack.of([STATE, STATE, STATE, FULL] * 3)
    assert (stack.kinds, len(stack), stack[3], stack[4]) == ((STATE, FULL), 12, FULL, STATE)
    assert list(stack.part(2, 3)) == [STATE, FULL, STATE]
    assert stack.counts() == [(STATE, 9), (FULL, 3)]


def test_widths_of_states_follow_from_their_heads() -> None:
    (net,) = STATE.mixers
    assert isinstance(net, DeltaNet)
    assert (net.key_width, net.value_width) == (16, 64)
    one = Mamba(version=2, inner=64, state_size=16, kernel_size=4, num_heads=8, num_groups=2)
    assert (one.head_dim, one.conv_width) == (8, 64 + 2 * 2 * 16)
    assert Mamba(version=1, inner=64, state_size=16, kernel_size=4).conv_width == 64
