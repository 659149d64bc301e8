"""SqueezeNet v1.0 as its authors published it after Deep Compression (pruned, weights shared and coded).

Source: Han, Mao, Dally 2016, sections 2 and 3; Iandola et al. 2016, section 4.2; the file compressed_SqueezeNet.net.
It is little endian: for each of the 26 convolutions a uint32, the number of its entries; then for each a codebook (256
float32), the biases (float32), a code (uint8) for each entry, and a gap (4 bits, low half first) for each.
"""

from dataclasses import dataclass

import numpy as np

from minicnn.errors import CheckpointError

__all__ = ["is_deep_compression", "read_deep_compression"]

_CODEBOOK = 256
_COUNTS_BYTES = 26 * 4


@dataclass(frozen=True)
class _Conv:
    name: str
    shape: tuple    # (K, C, R, S)


def _squeezenet():
    """The convolutions in file order, named as in torchvision's squeezenet1_0."""
    convolutions = [_Conv("features.0", (96, 3, 7, 7))]
    channels = 96
    for index, squeeze, expand in [(3, 16, 64), (4, 16, 64), (5, 32, 128), (7, 32, 128), (8, 48, 192), (9, 48, 192),
                                   (10, 64, 256), (12, 64, 256)]:
        convolutions += [_Conv(f"features.{index}.squeeze", (squeeze, channels, 1, 1)),
                         _Conv(f"features.{index}.expand1x1", (expand, squeeze, 1, 1)),
                         _Conv(f"features.{index}.expand3x3", (expand, squeeze, 3, 3))]
        channels = 2 * expand
    return convolutions + [_Conv("classifier.1", (1000, channels, 1, 1))]


def _file_bytes(counts):
    return _COUNTS_BYTES + sum(4 * _CODEBOOK + 4 * conv.shape[0] + count + (count + 1) // 2
                               for conv, count in zip(_squeezenet(), counts))


def _read_counts(head):
    return np.frombuffer(head[:_COUNTS_BYTES], "<u4").tolist()


def is_deep_compression(head, file_bytes):
    """Whether the first 104 bytes are counts that explain the file's length exactly; the format has no other mark."""
    return len(head) >= _COUNTS_BYTES and _file_bytes(_read_counts(head)) == file_bytes


def read_deep_compression(file):
    """{name: float32 array} from an open file that `is_deep_compression`.

    The weights expect Caffe's input: BGR, 0 to 255, minus (104, 117, 123).
    """
    file.seek(0)
    content = file.read()
    counts = _read_counts(content)
    position = _COUNTS_BYTES
    arrays = {}

    def take(dtype, count):
        nonlocal position
        numbers = np.frombuffer(content, dtype, count, position)
        position += numbers.nbytes
        return numbers

    for conv, count in zip(_squeezenet(), counts):
        if count > np.prod(conv.shape):
            raise CheckpointError(f"{conv.name}.weight has {int(np.prod(conv.shape)):,} numbers and {count:,} entries; "
                                  "the file is damaged; download it again")
        codebook = take("<f4", _CODEBOOK)
        bias = take("<f4", conv.shape[0]).astype(np.float32)
        codes = take("u1", count)
        gaps = _unpack_nibbles(take("u1", (count + 1) // 2))[:count]
        arrays[f"{conv.name}.weight"] = _decode_weight(conv, codebook, codes, gaps)
        arrays[f"{conv.name}.bias"] = bias
    return arrays


def _unpack_nibbles(packed):
    return np.stack([packed & 15, packed >> 4], axis=1).reshape(-1)


def _decode_weight(conv, codebook, codes, gaps):
    """Entry i stands at position sum(gap + 1 over the entries to i) - 1 of the flat weight; the rest is codebook[0]."""
    positions = np.cumsum(gaps.astype(np.int64) + 1) - 1
    size = int(np.prod(conv.shape))
    if len(positions) and positions[-1] >= size:
        raise CheckpointError(f"{conv.name}.weight has {size:,} numbers and an entry at position {positions[-1]:,}; "
                              "the file is damaged; download it again")
    weight = np.full(size, codebook[0], np.float32)
    weight[positions] = codebook[codes]
    return weight.reshape(conv.shape)
