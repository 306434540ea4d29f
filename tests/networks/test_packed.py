"""Packed weights: rounding by its definition, products and whole passes equal to the rounded weights', rows apart."""

import copy
import gc
import mmap
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from genus.core import Model, Noise, Roads, Space
from genus.errors import UsageError
from genus.learned.attempts import as_learned
from genus.networks import packed
from genus.networks.decoder import DecoderConfig
from genus.networks.lora import LoraConfig
from genus.networks.packed import COLUMNS, PackedLinear, group, halves, kernel, laid, rounded
from genus.networks.transformer import TransformerConfig
from genus.samplers.drawing import Drawing
from genus.samplers.tokens import Tokens

SPACE = Space((48,), 1, 77)
LLAMA = DecoderConfig(depth=3, width=64, head=32, heads=4, kv_heads=2, hidden=96, norm="rms", tied=True)


def built(config=LLAMA):
    torch.manual_seed(0)
    net = config.build(SPACE, Roads())
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return net.eval()


no_halves = pytest.mark.skipif(not halves(), reason="no compiler, or a processor that does not multiply bfloat16")
WIDTHS = [4, 8, pytest.param(16, marks=no_halves)]


def again(linear, bits):
    """The weights that are left of a linear map."""
    if bits == 16:
        return linear.weight.detach().bfloat16().float()
    q, d, m = rounded(linear.weight.detach(), bits)
    d, m = (x.float().repeat_interleave(group(bits), 1)[:, : q.shape[1]] for x in (d, m))
    return d * q.float() + m


@pytest.mark.parametrize("bits", [4, 8])
def test_rounding_is_off_by_half_a_step(bits):
    torch.manual_seed(0)
    n = group(bits)
    w = torch.randn(5, 3 * n)
    w[0, :n] = {4: 0.25, 8: 0.0}[bits]  # a group without a spread, or with nothing in it
    linear = torch.nn.Linear(3 * n, 5, bias=False)
    linear.weight.data = w
    off = (again(linear, bits) - w).view(5, 3, n).abs().amax(-1)
    groups = w.view(5, 3, n)
    whole = 2 * groups.abs().amax(-1) if bits == 8 else groups.amax(-1) - groups.amin(-1)
    step = whole / (2**bits - 1)
    assert (off <= 0.5 * step + 2e-3).all()
    assert off[0, 0] == 0


@pytest.mark.skipif(kernel() is None, reason="no compiler, or a processor without VNNI")
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("size", [1e-7, 1.0, 300.0, 1e4])
def test_the_compiled_file_packs_as_torch_does(bits, size):
    torch.manual_seed(0)
    linear = torch.nn.Linear(3 * COLUMNS, 37, bias=False)
    linear.weight.data = torch.randn(37, 3 * COLUMNS) * size
    linear.weight.data[0, :COLUMNS], linear.weight.data[1] = 0.25, 0.0
    for kind in (torch.float32, torch.bfloat16):
        linear.to(kind)
        wanted = laid(*rounded(linear.weight.detach(), bits), bits)
        assert torch.equal(PackedLinear.of(linear, bits).get_buffer("w"), wanted)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("rows", [1, 2, 3, 6, 7, 8, 21])
@pytest.mark.parametrize("outputs", [7, 50, 64])
def test_products_are_those_of_the_rounded_weights(bits, rows, outputs):
    torch.manual_seed(1)
    linear = torch.nn.Linear(96, outputs)
    x = torch.randn(rows, 96)
    wanted = x @ again(linear, bits).T + linear.bias
    made = PackedLinear.of(linear, bits).eval()
    found = made(x[:, None])[:, 0].detach()
    torch.testing.assert_close(found, wanted.detach(), atol=0.03, rtol=0.03)  # activations have 8 bits
    torch.testing.assert_close(made.numbers(), again(linear, bits), atol=0, rtol=0)
    assert torch.equal(made.rows(torch.tensor([outputs - 1, 0])), made.numbers()[[outputs - 1, 0]])


def test_weights_on_large_pages_are_the_same_and_live_as_long_as_the_network(monkeypatch, tmp_path):
    x = torch.cat([torch.full((2, 1, 1), 77), torch.randint(0, 77, (2, 1, 9))], 2)
    plain = built().packed(4)
    monkeypatch.setattr(packed, "LARGE", 0)
    moved = built().packed(4)
    gc.collect()
    weights = [layer.up.get_buffer("w") for layer in moved.blocks]
    if hasattr(mmap, "MADV_HUGEPAGE") and moved.layers is not None:
        assert len({w.untyped_storage().data_ptr() for w in weights}) == 1 and all(
            w.data_ptr() % 64 == 0 for w in weights
        )
    with torch.no_grad():
        for net in (moved, copy.deepcopy(moved)):
            assert torch.equal(net(x, state=net.start(2, 10)), plain(x, state=plain.start(2, 10)))
    save_file(moved.state_dict(), tmp_path / "few.safetensors")
    again = load_file(tmp_path / "few.safetensors")
    assert all(torch.equal(again[name], value) for name, value in plain.state_dict().items())


@pytest.mark.skipif(kernel() is None, reason="no compiler, or a processor without VNNI")
@pytest.mark.parametrize("apart", [False, True])
def test_all_layers_at_once_are_the_layers_one_by_one(apart):
    net = built(LLAMA.but(apart=apart))
    whole, single = net.packed(8), net.packed(8)
    assert whole.layers is not None
    single.layers = None
    x = torch.cat([torch.full((2, 1, 1), 77), torch.randint(0, 77, (2, 1, 20))], 2)
    with torch.no_grad():
        one, other = whole.start(2, 48), single.start(2, 48)
        for start, stop in ((0, 9), (9, 10), (10, 21)):
            a, b = whole(x[:, :, start:stop], state=one), single(x[:, :, start:stop], state=other)
            torch.testing.assert_close(a, b, atol=2e-2, rtol=2e-2)
        exact = net(x)
        assert (a - exact[:, :, 10:]).abs().mean() < 0.05 * exact.std()


@no_halves
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_with_a_memory_16_bits_say_what_they_say_at_once(apart, tied):
    net = built(LLAMA.but(apart=apart, tied=tied))
    half = net.packed(16)
    assert half.drawn.layers is not None and half.drawn.leave.bits == 16
    x = torch.cat([torch.full((2, 1, 1), 77), torch.randint(0, 77, (2, 1, 20))], 2)
    with torch.no_grad():
        memory, exact, at_once = half.start(2, 48), net(x), half(x)
        said = torch.cat([half(x[:, :, a:b], state=memory) for a, b in ((0, 9), (9, 10), (10, 21))], 2)
    off = (said - exact).norm() / exact.norm()
    assert off < 0.02 and off < 1.2 * (at_once - exact).norm() / exact.norm()


@no_halves
def test_a_decoder_that_learned_in_16_bits_draws_from_packed_ones():
    nets = torch.nn.ModuleDict({"net": built()})
    model = Model(None, SPACE, nets, None, Tokens(), precision="bf16")
    half = model.drawing()["net"]
    half(torch.full((1, 1, 1), 77), state=half.start(1, 2))
    assert vars(half)["drawn"].layers is not None and "at_once" not in vars(half), "what is not read is not made"
    assert replace(model, precision="fp32").drawing() is nets
    published = replace(model, precision="fp32", drawn="bf16")
    assert published.drawing()["net"].drawn.layers is not None and published.drawing(published.precision) is nets
    assert as_learned(model) is None, "float32 weights are drawn from as they are"
    assert as_learned(replace(model, nets=torch.nn.ModuleDict({"net": built().bfloat16()}))) == "bf16"
    other = torch.nn.ModuleDict({"net": TransformerConfig(depth=1, width=32, head=16).build(SPACE, Roads())})
    assert Model(None, SPACE, other, None, Tokens(), precision="bf16").drawing() is other


@pytest.mark.parametrize("bits", WIDTHS)
def test_rows_apart_draw_what_they_draw_alone(bits):
    net = built().packed(bits)
    draw = Tokens(tokens=30, temperature=0)
    alone = [draw.rows(SPACE, Noise(0, (i,)), None)[0][0] for i in range(3)]
    both = [draw.rows(SPACE, Noise(0, (i,)), None)[0][0] for i in range(3)]
    for row in alone:
        one = Drawing(net, SPACE, [row])
        while one.rows:
            one.step()
    drawing = Drawing(net, SPACE, both[:1])
    for row in both[1:]:
        for _ in range(4):
            drawing.step()
        drawing.join([row])
    while drawing.rows:
        drawing.step()
    for a, b in zip(alone, both, strict=True):
        assert torch.equal(a.past, b.past)


@pytest.mark.skipif(kernel() is None, reason="no compiler, or a processor without VNNI")
def test_what_rows_have_in_common_is_read_once_and_is_theirs():
    net = built().packed(8)
    begun = torch.cat([torch.full((1, 1, 1), 77), torch.randint(0, 77, (1, 1, 13))], 2)
    memory = net.start(1, 48)
    with torch.no_grad():
        net(begun, state=memory)
        kept, apart, spoilt = (memory.take([0, 0, 0]) for _ in range(3))
        assert kept.alike() == ([0, 0, 0], [14, 14, 14])
        apart.family = [0, 1, 2]
        spoilt.k[:, 1, :, :12] = spoilt.v[:, 2, :, :12] = torch.nan  # not what is read: that is the first row's
        for _ in range(5):
            x = torch.randint(0, 77, (3, 1, 1))
            a, b, c = (net(x, state=state) for state in (kept, apart, spoilt))
            assert torch.equal(a, b) and torch.equal(a, c) and not torch.equal(a[0], a[1])
    assert kept.take([1, 2]).alike() == ([0, 0], [14, 14])
    assert kept.take([2, 2]).alike() == ([0, 0], [19, 19]), "all of it"
    assert kept.take([0]).join(kept.take([1])).alike() == ([0, 1], [0, 0])
    kept.rewind([9, 19, 19])
    assert kept.alike() == ([0, 0, 0], [9, 9, 9]), "the first one may be other from there on"


def test_without_a_kernel_it_is_as_good(monkeypatch):
    net = built()
    x = torch.cat([torch.full((1, 1, 1), 77), torch.randint(0, 77, (1, 1, 12))], 2)
    with torch.no_grad():
        fast = net.packed(4)(x, state=net.start(1, 48))
        monkeypatch.setattr(packed, "kernel", lambda: None)
        slow = net.packed(4)
        assert slow.layers is None or kernel() is not None
        slow.layers = None
        said = slow(x, state=net.start(1, 48))
    assert (said - fast).abs().mean() < 0.05 * said.std()


def test_what_has_no_packed_form_says_so():
    with pytest.raises(UsageError, match="no weights of 4 bits; choose the precision int8, bf16 or fp32"):
        TransformerConfig(depth=1, width=32, head=16).build(SPACE, Roads()).packed(4)


@pytest.mark.parametrize("bits", [8, 4])
def test_packing_leaves_what_learns_as_it_is(bits):
    net = built(LLAMA.but(biases=("qkv", "out", "ffn"))).bfloat16()
    before = {name: (p, p.dtype, p.requires_grad) for name, p in net.named_parameters()}
    net.packed(bits)
    assert all(before[name] == (p, p.dtype, p.requires_grad) for name, p in net.named_parameters())


@pytest.mark.parametrize("bits", WIDTHS)
def test_no_rows_have_no_products(bits):
    assert PackedLinear.of(torch.nn.Linear(64, 40), bits)(torch.zeros(0, 64)).shape == (0, 40)


@pytest.mark.parametrize("bits", WIDTHS)
def test_a_network_in_training_is_packed_as_it_stands(bits):
    """In bf16, and with an adapter: as the same weights in float32, the correction added."""
    x = torch.randint(0, 77, (2, 1, 12))

    def said(net):
        state = net.start(2, 20)
        with torch.no_grad():
            return torch.cat([net(x[:, :, :9], state=state), net(x[:, :, 9:], state=state)], 2)

    half = built().bfloat16()
    whole = copy.deepcopy(half).float()
    assert torch.equal(said(half.packed(bits)), said(whole.packed(bits)))
    assert next(half.parameters()).dtype is torch.bfloat16
    config, nets = LoraConfig(rank=2, lengths=True), torch.nn.ModuleDict({"net": built()})
    config.onto(nets)
    for name, p in nets.named_parameters():
        if p.requires_grad:
            torch.nn.init.normal_(p, 1.0 if name.endswith(".m") else 0.0, std=0.2)
    trained = {name: p for name, p in nets.named_parameters() if p.requires_grad}
    merged = torch.nn.ModuleDict({"net": built()})
    merged.load_state_dict(config.merged(merged.state_dict(), trained))
    torch.testing.assert_close(said(nets["net"].packed(bits)), said(merged["net"].packed(bits)))
