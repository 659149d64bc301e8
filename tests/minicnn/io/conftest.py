"""What the tests of files share: torch files made byte by byte, and loading weights from bytes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch_files as made

from minicnn.io import load_weights


@pytest.fixture(scope="session")
def torch_files():
    return SimpleNamespace(**vars(made), zip=made.zip_file, legacy=made.legacy_file)


@pytest.fixture(scope="session")
def load(tmp_path_factory):
    """load_weights of a file with the given bytes."""
    folder = tmp_path_factory.mktemp("weights")

    def load_bytes(content):
        path = folder / "weights.bin"
        path.write_bytes(content)
        return load_weights(path)
    return load_bytes


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {"conv.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
            "conv.bias": rng.normal(size=4),
            "bn.num_batches_tracked": np.array(7),
            "mask": np.array([True, False, True])}
