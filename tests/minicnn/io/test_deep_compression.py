"""SqueezeNet's Deep Compression file: one made here and the published one."""

from pathlib import Path

import numpy as np
import pytest

from minicnn.errors import CheckpointError
from minicnn.io import load_weights

PUBLISHED = Path(__file__).parents[4] / "shared" / "data" / "compressed_SqueezeNet.net"
SQUEEZES = [16, 16, 32, 32, 48, 48, 64, 64]
OUTPUTS = [96, *(n for s in SQUEEZES for n in (s, 4 * s, 4 * s)), 1000]


def build(entries):
    """entries: for each convolution, a list of (gap, code). Codebook entry i is i - 100; bias entry k is k."""
    parts = [np.array([len(e) for e in entries], "<u4").tobytes()]
    for outputs, listed in zip(OUTPUTS, entries):
        gaps = [gap for gap, _ in listed] + [0] * (len(listed) % 2)
        packed = [low | high << 4 for low, high in zip(gaps[::2], gaps[1::2])]
        parts += [(np.arange(256) - 100).astype("<f4").tobytes(), np.arange(outputs).astype("<f4").tobytes(),
                  bytes(code for _, code in listed), bytes(packed)]
    return b"".join(parts)


def test_entries_codebook_and_bias(load):
    entries = [[(0, 255), (15, 0), (2, 101)]] + [[]] * 24 + [[(3, 104)]]
    weights = load(build(entries))
    assert len(weights) == 52
    first = weights["features.0.weight"]
    expected = np.full(96 * 3 * 7 * 7, -100, np.float32)
    expected[0], expected[19] = 155, 1      # the entry of code 0 at position 16 only bridges a gap over 15
    np.testing.assert_array_equal(first.reshape(-1), expected, strict=True)
    assert first.shape == (96, 3, 7, 7)
    assert weights["classifier.1.weight"].reshape(-1)[:5].tolist() == [-100, -100, -100, 4, -100]
    assert weights["features.12.expand3x3.bias"].tolist() == list(range(256))


def test_names_and_shapes_are_torchvisions(load):
    shapes = {name: array.shape for name, array in load(build([[]] * 26)).items()}
    assert shapes["features.3.squeeze.weight"] == (16, 96, 1, 1)
    assert shapes["features.3.expand1x1.weight"] == (64, 16, 1, 1)
    assert shapes["features.4.squeeze.weight"] == (16, 128, 1, 1)
    assert shapes["features.12.expand3x3.weight"] == (256, 64, 3, 3)
    assert shapes["classifier.1.weight"] == (1000, 512, 1, 1)
    assert sum(np.prod(shape) for shape in shapes.values()) == 1_248_424


def test_entry_behind_the_end_of_its_weight(load):
    entries = [[]] * 1 + [[(15, 1)] * 97] + [[]] * 24
    with pytest.raises(CheckpointError, match=r"features.3.squeeze.weight has 1,536 numbers and an entry at .* 1,551"):
        load(build(entries))


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c + b"x", lambda c: b"\x01" + c[1:], lambda c: c[:104]])
def test_length_that_the_counts_do_not_explain(load, change):
    with pytest.raises(CheckpointError, match="found unknown data"):
        load(change(build([[]] * 26)))


def test_published_file():
    if not PUBLISHED.is_file():
        pytest.skip("shared data not found: compressed_SqueezeNet.net")
    weights = load_weights(PUBLISHED)
    assert sum(array.size for array in weights.values()) == 1_248_424
    kernels = [array for name, array in weights.items() if name.endswith("weight")]
    assert sum(np.count_nonzero(array) for array in kernels) == 415_921
    assert all(len(np.unique(array)) <= 256 for array in kernels)
    assert np.isfinite(np.concatenate([array.reshape(-1) for array in weights.values()])).all()
