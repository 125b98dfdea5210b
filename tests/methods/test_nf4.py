"""NF4 on the CPU: gradients equal those of the dequantised dense model, before and after evaluation."""

from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from helpers.parts import TEXTS, load_prompting, load_reader, relative
from helpers.tiny import Tiny
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from zoo import FAMILIES, save

from transferkit.decoder.decoder import Decoder
from transferkit.decoder.reader import Reader
from transferkit.errors import ConfigError


def dequantised_copy(quantised: Decoder, folder: Path, copy: Path) -> Path:
    """The model in ``folder`` with every quantised weight replaced by what its 4 bits mean."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    replaced = 0
    for name, layer in quantised.trunk.named_modules():
        if isinstance(layer, Linear4bit):
            dense = dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
            target = model.get_decoder().get_submodule(name).weight
            assert relative(dense, target) < 0.5  # the same matrix, not its transpose
            target.data.copy_(dense)
            replaced += 1
    assert replaced == quantised.quantized_layers
    model.save_pretrained(copy)
    AutoTokenizer.from_pretrained(folder).save_pretrained(copy)
    return copy


def soft_gradient(reader: Reader) -> Tensor:
    """Of a random weighting of the soft positions' states."""
    generator = torch.Generator().manual_seed(0)
    scale = reader.decoder.token_table().float().std()
    soft = (torch.randn(len(TEXTS), 3, reader.decoder.embedding_width, generator=generator) * scale).requires_grad_()
    states = reader(reader.rows(TEXTS, [""] * len(TEXTS)), soft).states[:, -3:].float()
    weights = torch.randn(states.shape, generator=generator)
    return torch.autograd.grad((states * weights).sum(), soft)[0]


def test_gradients_equal_the_dequantised_model(tiny: Tiny, tmp_path: Path) -> None:
    reader = load_reader(tiny.target, quantization="nf4")
    quantised = reader.decoder
    layers = [module for module in quantised.modules() if isinstance(module, Linear4bit)]
    assert quantised.quantized_layers == len(layers) > 0
    # On CPUs with AVX512-BF16 this flag lets a forward pass without gradient ruin all later gradients.
    assert [layer.support_avx512bf16_for_cpu for layer in layers] == [False] * len(layers)
    dense = load_reader(dequantised_copy(quantised, tiny.target, tmp_path / "dense"))
    assert dense.decoder.quantized_layers == 0
    expected = soft_gradient(dense)
    fresh = soft_gradient(reader)
    quantised.eval()
    with torch.no_grad():
        soft = torch.zeros(len(TEXTS), 3, quantised.embedding_width)
        reader(reader.rows(TEXTS, [""] * len(TEXTS)), soft)
    later = soft_gradient(reader)
    for gradient in (fresh, later):
        assert float(torch.cosine_similarity(gradient.flatten(), expected.flatten(), dim=0)) > 0.99
        assert float(gradient.norm() / expected.norm()) == pytest.approx(1, abs=0.05)


def test_decoder_without_a_layer_to_quantise_is_refused(tmp_path: Path) -> None:
    save(FAMILIES["falcon"], tmp_path)
    with pytest.raises(ConfigError, match="quantization nf4 found no layer that it can quantise"):
        load_reader(tmp_path, quantization="nf4")


def test_weights_that_are_stored_in_four_bits_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    packed = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = AutoModelForCausalLM.from_pretrained(tiny.target, quantization_config=packed)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny.target).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"its weights are stored quantised, .* take the original checkpoint and"):
        load_reader(tmp_path)
    with pytest.raises(ConfigError, match="its weights are stored quantised"):
        load_prompting(tmp_path)
