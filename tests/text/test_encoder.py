"""What a tiny T5 says of a prompt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import T5Config, T5EncoderModel, T5ForConditionalGeneration

from tests.text.samples import JUMPS, WALKS, save_encoder, sizes, tokenizer
from unimo.text import TextEncoder


def alone(folder: Path, ids: list[int]) -> torch.Tensor:
    """States (M, width) of ids that stand alone, without padding, by transformers."""
    model = T5EncoderModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).last_hidden_state[0]


def test_a_prompt_is_what_t5_says_and_zeros_behind_it(t5: Path) -> None:
    context = TextEncoder(t5).encode([WALKS, JUMPS])
    assert context.states.shape == (2, 512, 10) and context.mask is None
    for row, ids in enumerate(([4, 5, 7, 8, 1], [4, 5, 6, 1])):  # </s> is 1
        torch.testing.assert_close(context.states[row, : len(ids)], alone(t5, ids), atol=1e-5, rtol=1e-4)
        assert context.states[row, : len(ids)].abs().amax(1).min() > 0.1
        assert not context.states[row, len(ids) :].any()


def test_a_row_does_not_depend_on_the_others(t5: Path) -> None:
    encoder = TextEncoder(t5)
    both = encoder.encode([JUMPS, "a man " * 200]).states
    torch.testing.assert_close(both[:1], encoder.encode([JUMPS]).states, atol=1e-6, rtol=1e-5)
    assert both[1, 400].any() and not both[1, 401:].any()


def test_a_long_prompt_is_cut_before_its_end_token(t5: Path) -> None:
    (states,) = TextEncoder(t5).encode(["jumps " * 600]).states
    torch.testing.assert_close(states, alone(t5, [6] * 511 + [1]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_and_of_the_dtype_asked_for(t5: Path, dtype: torch.dtype) -> None:
    half, full = TextEncoder(t5, dtype=dtype), TextEncoder(t5)
    states = half.encode([WALKS]).states
    assert states.dtype == dtype and next(half._parts[1].parameters()).dtype == torch.bfloat16
    error = (states.float() - full.encode([WALKS]).states).abs().max()
    assert 0 < error < 0.1


def test_the_encoder_of_a_whole_t5_in_shards_is_the_same(t5: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = T5ForConditionalGeneration(sizes())
    whole.encoder.load_state_dict(T5EncoderModel.from_pretrained(t5).encoder.state_dict())
    whole.save_pretrained(tmp_path, max_shard_size="4KB")
    tokenizer().save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    torch.testing.assert_close(TextEncoder(tmp_path).encode([WALKS]).states, TextEncoder(t5).encode([WALKS]).states)


def test_a_folder_with_a_sentencepiece_model_alone(copy: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy / name).unlink()
    lines = copy / "lines.txt"
    lines.write_text(f"{WALKS}\n{JUMPS}\n" * 9)
    sentencepiece.SentencePieceTrainer.train(
        input=str(lines), model_prefix=str(copy / "spiece"), vocab_size=18, hard_vocab_limit=False,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    settings = json.loads((copy / "config.json").read_text())
    larger = save_encoder(copy.parent / "larger", T5Config(**settings | {"vocab_size": 128}))
    shutil.copy(larger / "model.safetensors", copy)
    shutil.copy(larger / "config.json", copy)
    ids = sentencepiece.SentencePieceProcessor(model_file=str(copy / "spiece.model")).encode(WALKS)
    (states,) = TextEncoder(copy).encode([WALKS]).states
    torch.testing.assert_close(states[: len(ids) + 1], alone(copy, [*ids, 1]), atol=1e-5, rtol=1e-4)
    assert not states[len(ids) + 1 :].any()


def test_reading_says_nothing_and_leaves_transformers_as_it_was(t5: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    TextEncoder(t5).encode([WALKS])
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")
