"""The mask-free attention call against the boolean-mask form: values and gradients."""

from __future__ import annotations

import pytest
import torch

import ar_model.attention as attention
from ar_model.attention import attend, prefix_mask


@pytest.mark.parametrize("prefix", [0, 1, 7, 23])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("fast_backend", ["sdpa", "blocked"])
def test_backends_agree(prefix: int, kv_heads: int, fast_backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "BLOCK", 5)
    torch.manual_seed(prefix)
    query = torch.randn(2, 4, 23, 8, requires_grad=True)
    key, value = (torch.randn(2, kv_heads, 23, 8, requires_grad=True) for _ in range(2))
    weight = torch.randn(2, 4, 23, 8)
    results = []
    for backend in ("mask", fast_backend):
        out = attend(query, key, value, prefix, backend)
        results.append((out, *torch.autograd.grad((out * weight).sum(), (query, key, value))))
    for reference, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, reference, atol=1e-6, rtol=1e-5)


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
