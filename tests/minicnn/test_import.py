"""import minicnn: light, and clear when another distribution's `kernels` is in the way."""

import os
import subprocess
import sys

HEAVY = ("numba", "rich", "PIL", "safetensors", "llvmlite", "matplotlib")


def run(code, **environment):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          env={**os.environ, **environment}, check=False)


def test_import_loads_no_compiler():
    result = run(f"import sys, minicnn; print([m for m in {HEAVY} if m in sys.modules])")
    assert result.stdout.strip() == "[]", result.stderr


def test_lazy_rooms_are_attributes():
    result = run("import minicnn; print(minicnn.models, minicnn.io, minicnn.data, minicnn.gradcheck, dir(minicnn))")
    assert result.returncode == 0, result.stderr
    assert "has no attribute 'model'" in run("import minicnn; minicnn.model").stderr


def test_a_foreign_kernels_package_is_named(tmp_path):
    """A distribution `kernels-hub` that installs a top-level `kernels`, ahead of ours on the path."""
    package = tmp_path / "kernels"
    package.mkdir()
    (package / "__init__.py").write_text("")
    metadata = tmp_path / "kernels_hub-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: kernels-hub\nVersion: 1.0\n")
    (metadata / "top_level.txt").write_text("kernels\n")
    (metadata / "RECORD").write_text("kernels/__init__.py,,\n")
    result = run(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import minicnn")
    assert result.returncode == 1
    assert "ImportError: minicnn needs its own package 'kernels', but found that of kernels-hub" in result.stderr
    assert "pip uninstall kernels-hub" in result.stderr
