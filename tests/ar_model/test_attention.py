"""Every attention back-end against the boolean-mask form: values and gradients; flash-attn is a stand-in here."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import flex_attention as flex

import ar_model.attention as attention
from ar_model import SequenceLayout
from ar_model.attention import attend, prefix_mask
from ar_model.config import ATTENTION_BACKENDS

LENGTH = 23


def flash_stand_in(
    query: Tensor, key: Tensor, value: Tensor, softmax_scale: float | None = None, causal: bool = False
) -> Tensor:
    """What flash-attn 2.1 and later document of `flash_attn_func`, by plain products: (B, S, H, d), lower right."""
    scale = 1 / math.sqrt(query.shape[-1]) if softmax_scale is None else softmax_scale
    group = query.shape[2] // key.shape[2]
    rows, columns = query.shape[1], key.shape[1]
    key, value = (tensor.repeat_interleave(group, 2) for tensor in (key, value))
    scores = scale * torch.einsum("bihd,bjhd->bhij", query, key)
    if causal:
        hidden = torch.arange(columns) > torch.arange(rows)[:, None] + columns - rows
        scores = scores.masked_fill(hidden, -torch.inf)
    return torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), value)


@pytest.fixture
def flash_package(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """flash-attn as if it were installed; `calls` counts them."""
    package = SimpleNamespace(__version__="2.8.3", calls=0)

    def flash_attn_func(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        package.calls += 1
        return flash_stand_in(query, key, value, **options)

    package.flash_attn_func = flash_attn_func
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    return package


@pytest.fixture
def flash_on_cpu(flash_package: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The stand-in also takes what the real package does not: float32 on a CPU."""
    monkeypatch.setattr(attention, "_check_flash_input", lambda query: None)
    return flash_package


def inputs(kv_heads: int, length: int = LENGTH, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value as the model hands them over: views of (B, S, H, d)."""
    torch.manual_seed(seed)
    query, key, value = (torch.randn(2, length, heads, 8).transpose(1, 2) for heads in (4, kv_heads, kv_heads))
    return query.requires_grad_(), key.requires_grad_(), value.requires_grad_()


def with_gradients(call: Callable[..., Tensor], tensors: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
    """The output and, for a fixed weighting of it, the gradients of all inputs."""
    out = call(*tensors)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    return [out, *torch.autograd.grad((out * weight).sum(), tensors)]


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_config_names_the_back_ends() -> None:
    assert tuple(attention._BACKENDS) == ATTENTION_BACKENDS


@pytest.mark.parametrize("prefix", [0, 1, 7, LENGTH])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("scale", [None, 0.7])
@pytest.mark.parametrize("backend", [name for name in ATTENTION_BACKENDS if name != "mask"])
def test_backends_agree(
    backend: str,
    scale: float | None,
    kv_heads: int,
    prefix: int,
    monkeypatch: pytest.MonkeyPatch,
    flash_on_cpu: SimpleNamespace,
) -> None:
    monkeypatch.setattr(attention, "BLOCK", 5)
    tensors = inputs(kv_heads, seed=prefix)
    fast = with_gradients(partial(attend, prefix=prefix, backend=backend, scale=scale), tensors)
    assert_same(fast, with_gradients(partial(attend, prefix=prefix, backend="mask", scale=scale), tensors))
    assert flash_on_cpu.calls == ((1 if prefix in (0, 1, LENGTH) else 2) if backend == "flash" else 0)


@pytest.mark.parametrize("backend", ["sdpa", "blocked", "flex"])
def test_backends_agree_where_many_blocks_are_needed(backend: str) -> None:
    tensors = inputs(2, length=650)
    assert len(attention._blocks(130, 650)) == 2
    fast = with_gradients(partial(attend, prefix=130, backend=backend), tensors)
    assert_same(fast, with_gradients(partial(attend, prefix=130, backend="mask"), tensors))


@pytest.mark.parametrize("rest", [attention._rest_fused, attention._rest_in_blocks])
@pytest.mark.parametrize("prefix", [1, 7, LENGTH - 1])
def test_rows_after_the_prefix_are_the_same_in_one_call_and_in_blocks(rest: Callable[..., Tensor], prefix: int) -> None:
    """On CUDA the rest is one call with PyTorch's lower-right bias; here that bias runs on the CPU."""
    tensors, masked = inputs(2), partial(attend, prefix=prefix, backend="mask", scale=0.3)
    fast = with_gradients(partial(rest, prefix=prefix, scale=0.3), tensors)
    expected = with_gradients(lambda *qkv: masked(*qkv)[:, :, prefix:], tensors)
    assert_same(fast, expected)


def test_no_row_of_the_prefix_is_computed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, fused = [], torch.nn.functional.scaled_dot_product_attention

    def count(query: Tensor, *others: Any, **options: Any) -> Tensor:
        rows.append(query.shape[2])
        return fused(query, *others, **options)

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", count)
    attend(*inputs(2), 7)
    assert sum(rows) == LENGTH


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("prefix", [0, 7, LENGTH])
def test_pytorchs_own_gradients_of_flex_agree(prefix: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA they are used; on a CPU they exist too, behind a refusal that is lifted here."""
    monkeypatch.setattr(flex, "_validate_device", lambda query, key, value: None)
    tensors, mask = inputs(2), attention._block_mask(LENGTH, prefix, torch.device("cpu"))
    own = with_gradients(partial(flex.flex_attention, block_mask=mask, scale=0.3, enable_gqa=True), tensors)
    assert_same(own, with_gradients(partial(attend, prefix=prefix, backend="mask", scale=0.3), tensors))


def test_block_masks_are_kept_and_serve_training_after_inference() -> None:
    tensors = inputs(2, length=31)
    with torch.inference_mode():
        attend(*tensors, 9, "flex")
        attend(*tensors, 9, "sdpa")
    mask = attention._block_mask(31, 9, torch.device("cpu"))
    assert mask is attention._block_mask(31, 9, torch.device("cpu"))
    assert not mask.kv_num_blocks.is_inference()
    expected = with_gradients(partial(attend, prefix=9, backend="mask"), tensors)
    for backend in ("flex", "sdpa"):
        assert_same(with_gradients(partial(attend, prefix=9, backend=backend), tensors), expected)


def test_flex_takes_more_lengths_and_prefixes_than_pytorch_keeps_compiled() -> None:
    limit: int = import_module("torch._dynamo.config").recompile_limit
    with torch.no_grad():
        for prefix in range(limit + 4):
            tensors = inputs(2, length=100 + 40 * prefix)
            out = attend(*tensors, prefix, "flex")
            torch.testing.assert_close(out, attend(*tensors, prefix, "mask"), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", [name for name in ATTENTION_BACKENDS if name != "mask"])
def test_whole_model_has_the_same_loss_and_gradients(
    backend: str, small_model: Callable, random_tokens: Callable, flash_on_cpu: SimpleNamespace
) -> None:
    layout = SequenceLayout("v2m", 2, 3, 2, 9)
    results = []
    for name in (backend, "mask"):
        model = small_model(attention=name)
        loss = model.loss(random_tokens(layout, 2), layout).total
        results.append([loss, *torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)])
    used = [pair for pair in zip(*results, strict=True) if pair[1] is not None]
    assert len(used) > 20 and len(used[0]) == 2
    for fast, reference in used:
        torch.testing.assert_close(fast, reference, atol=1e-5, rtol=1e-5)
    assert (flash_on_cpu.calls > 0) == (backend == "flash")


def test_mask_is_prefix_both_ways_then_causal() -> None:
    mask = prefix_mask(5, 2)
    expected = torch.tensor(
        [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], dtype=torch.bool
    )
    assert torch.equal(mask, expected)


def test_query_heads_share_consecutive_key_heads() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(1, 4, 5, 8), torch.randn(1, 2, 5, 8), torch.randn(1, 2, 5, 8)
    repeated = attend(query, key.repeat_interleave(2, 1), value.repeat_interleave(2, 1), 3)
    torch.testing.assert_close(attend(query, key, value, 3), repeated)


def test_wrong_prefix_or_backend_is_refused() -> None:
    x = torch.zeros(1, 1, 4, 8)
    with pytest.raises(ValueError, match="prefix 5 is outside"):
        attend(x, x, x, 5)
    with pytest.raises(ValueError, match="unknown attention back-end 'magic'"):
        attend(x, x, x, 2, "magic")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_flash_refuses_what_the_package_cannot_take(dtype: torch.dtype, flash_package: SimpleNamespace) -> None:
    x = torch.zeros(1, 1, 4, 8, dtype=dtype)
    with pytest.raises(ValueError, match=f"float16 or bfloat16 on CUDA, got {str(dtype)[6:]} on cpu; choose 'sdpa'"):
        attend(x, x, x, 2, "flash")
    assert flash_package.calls == 0


def test_flash_says_what_to_install_and_refuses_old_packages(
    flash_on_cpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.zeros(1, 1, 4, 8)
    flash_on_cpu.__version__ = "2.0.9"
    with pytest.raises(ValueError, match="flash-attn 2.1 or newer, found 2.0.9"):
        attend(x, x, x, 2, "flash")
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    with pytest.raises(ValueError, match="needs the package flash-attn .* `pip install flash-attn"):
        attend(x, x, x, 2, "flash")
