"""Text for a transformer that reads it: a prompt -> the states of a T5 encoder, padded to a fixed length.

In: prompts, and the user's own T5 (a folder or a Hugging Face id) in safetensors. Out: a `Context`.
UniMo carries no text encoder; transformers is imported only when one is used. As in Cosmos 5B (`docs/text.md`), states
behind the end of a prompt are zeroed but not hidden, and no text is zeros everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ar_model import Context
from unimo.assets import is_hub_id, text_encoder_path
from unimo.bundle import COMPONENTS, Bundle
from unimo.config import load_config
from unimo.errors import CheckpointError, InputError, MissingAssetError, counted
from unimo.extras import installed

TOKENS = 512
"""Text states of a prompt, as in Cosmos."""
LIBRARIES = ("transformers", "sentencepiece", "protobuf")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_HELP = "docs/text.md says how to get one"


class TextEncoder:
    """A T5 encoder, found and checked when first asked for and read when a prompt is first encoded.

    Args:
        name_or_path: a folder, or a Hugging Face id, which is fetched.
        device: where it runs and where the states go.
        dtype: of the states. The encoder itself runs in float32 for float32, else in bfloat16.
    """

    def __init__(
        self,
        name_or_path: str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.source, self.device, self.dtype = name_or_path, torch.device(device), dtype

    @property
    def remote(self) -> bool:
        """Whether it must be looked for on Hugging Face; asks nobody."""
        return is_hub_id(self.source)

    @cached_property
    def folder(self) -> Path:
        """Where the encoder lies; weights, tokenizer and the libraries that read them are there.

        Raises:
            InputError: no name, a file, or not a T5.
            MissingAssetError: no such folder or id; no weights in safetensors, no tokenizer, or a library is missing.
        """
        text_libraries(LIBRARIES[:1])
        folder = text_encoder_path(self.source)
        if _settings(folder).get("model_type") != "t5":
            raise InputError("the text encoder is no T5, or its config.json does not say so", str(folder), _HELP)
        _check_weights(folder)
        if not (folder / "tokenizer.json").is_file():
            if not (folder / "spiece.model").is_file():
                what = "the text encoder has no tokenizer: neither tokenizer.json nor spiece.model"
                raise MissingAssetError(what, str(folder), "fetch it whole")
            text_libraries()
        return folder

    @cached_property
    def width(self) -> int:
        """Channels of the states; errors are those of `folder`."""
        width = _settings(self.folder).get("d_model")
        if not isinstance(width, int) or width < 1:
            raise CheckpointError(f"the text encoder's d_model is {width!r}", str(self.folder / "config.json"))
        return width

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Context:
        """The states of B prompts, each as if it stood alone.

        A prompt of more than 512 tokens, the end token among them, is cut.

        Returns:
            states (B, 512, width), 0 behind each prompt's end; nothing is masked.

        Raises:
            CheckpointError: the encoder's files are damaged or do not belong together.
            InputError, MissingAssetError: see `folder`.
        """
        tokenizer, model = self._parts
        rows = tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        ).to(self.device)
        states = model(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]).last_hidden_state
        padding = rows["attention_mask"].unsqueeze(-1) == 0
        return Context(states.masked_fill(padding, 0).to(self.dtype))

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        """Tokenizer and model."""
        folder = self.folder
        # what T5 computes can leave float16's range
        dtype = torch.float32 if self.dtype == torch.float32 else torch.bfloat16
        try:
            from transformers import AutoTokenizer, T5EncoderModel

            with _silence():
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
                loaded: Any = T5EncoderModel.from_pretrained(
                    folder, local_files_only=True, use_safetensors=True, dtype=dtype, output_loading_info=True
                )
        except Exception as error:  # transformers raises many unrelated types for damaged files
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            what = f"the text encoder cannot be read ({reason})"
            raise CheckpointError(what, str(folder), "fetch it again") from error
        model, report = loaded
        if missing := sorted(report["missing_keys"]):
            what = f"the text encoder's weights lack {counted(len(missing), 'tensor')}, {missing[0]} the first"
            raise CheckpointError(what, str(folder), "fetch it again")
        if len(tokenizer) > model.config.vocab_size:
            words = f"{len(tokenizer)} words, its model {model.config.vocab_size}"
            raise CheckpointError(f"the text encoder's tokenizer knows {words}", str(folder), "fetch it again")
        return tokenizer, model.eval().to(self.device)


def no_text(width: int, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Context:
    """The context that stands for no text: 512 zeros of `width` channels, one row."""
    return Context(torch.zeros(1, TOKENS, width, device=device, dtype=dtype))


def text_width(bundle: Bundle) -> int | None:
    """Channels of the text states that a bundle's transformer reads, None where it reads none; from its config alone.

    Raises:
        ConfigError: the transformer's config.json is missing or cannot be understood.
    """
    kind = COMPONENTS["ar_model"]
    if bundle.path is None:
        return kind.preset("debug").context_dim
    if kind.folder not in bundle.info.components:
        return None
    return load_config(kind.config_class, bundle.path / kind.folder / "config.json").context_dim


def text_libraries(names: Sequence[str] = LIBRARIES) -> str:
    """Names and versions of the libraries that read text.

    Raises:
        MissingAssetError: one is not installed.
    """
    return installed("text", "reading text", names)


def _settings(folder: Path) -> dict[str, Any]:
    """What config.json holds."""
    file = folder / "config.json"
    if not file.is_file():
        raise MissingAssetError("the folder of the text encoder holds no config.json", str(file), _HELP)
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"the text encoder's config.json cannot be read: {error}", str(file)) from error
    return settings if isinstance(settings, dict) else {}


def _check_weights(folder: Path) -> None:
    if any((folder / name).is_file() for name in _WEIGHTS):
        return
    pickle = next((name for name in _PICKLES if (folder / name).is_file()), None)
    also = f", only {pickle}, a pickle, which is never read" if pickle else ""
    what = f"the text encoder has no weights in safetensors ({_WEIGHTS[0]}){also}"
    raise MissingAssetError(what, str(folder), "docs/text.md says how to convert a pickle once")


@contextmanager
def _silence() -> Iterator[None]:
    """Without transformers' progress bars and reports: what matters is checked and said here."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
