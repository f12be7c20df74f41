"""Visual tokenizers: video in [-1, 1] <-> ids of 8 x 16 x 16 pixels, <-> latents of 8 x 8 x 8, and ids -> latents."""

from visual_tokenizer.autoencoder import CosmosAutoencoder
from visual_tokenizer.config import AutoencoderConfig, ContinuousTokenizerConfig, VisualTokenizerConfig
from visual_tokenizer.continuous import ContinuousVisualTokenizer
from visual_tokenizer.diffusion_config import DiffusionDecoderConfig
from visual_tokenizer.diffusion_keys import rename_diffusion_decoder_keys
from visual_tokenizer.diffusion_model import DiffusionDecoder, initialize_diffusion_decoder
from visual_tokenizer.diffusion_sampler import GUIDANCE, STEPS, DiffusionSampler, decode_windows, draw_noise
from visual_tokenizer.haar import haar_patch, haar_unpatch
from visual_tokenizer.initialization import initialize_for_training
from visual_tokenizer.keys import rename_cosmos_keys
from visual_tokenizer.losses import block_weights, code_spread, wavelet_losses
from visual_tokenizer.model import DiscreteVisualTokenizer
from visual_tokenizer.tiling import TiledTokenizer, Tiling

__all__ = [
    "GUIDANCE",
    "STEPS",
    "AutoencoderConfig",
    "ContinuousTokenizerConfig",
    "ContinuousVisualTokenizer",
    "CosmosAutoencoder",
    "DiffusionDecoder",
    "DiffusionDecoderConfig",
    "DiffusionSampler",
    "DiscreteVisualTokenizer",
    "TiledTokenizer",
    "Tiling",
    "VisualTokenizerConfig",
    "block_weights",
    "code_spread",
    "decode_windows",
    "draw_noise",
    "haar_patch",
    "haar_unpatch",
    "initialize_diffusion_decoder",
    "initialize_for_training",
    "rename_cosmos_keys",
    "rename_diffusion_decoder_keys",
    "wavelet_losses",
]
