"""The level of optimisation: the kernels' own for the kernels, Numba's for everybody else. When what is cached is used."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from numba import config
from numba.extending import overload

from kernels import compiling
from kernels.compiling import LEVEL, njit

pytestmark = [pytest.mark.jit,
              pytest.mark.skipif("NUMBA_OPT" in os.environ, reason="NUMBA_OPT sets one level for all")]
LENGTHS = itertools.count(1)        # each a type of its own: an overload is asked once for a type


def _note_level(_):
    """Compiled to nothing; see `levels`."""


@pytest.fixture(scope="module")
def levels():
    """The level at each compilation of a call of _note_level."""
    seen = []

    @overload(_note_level)
    def _noting(_):
        seen.append(int(config.OPT))
        return lambda _: None
    return seen


def function(module, inner=None):
    """A compiled function of a module, which first calls another."""
    inner = inner or njit(lambda: None)
    own = (0,) * next(LENGTHS)

    def outer():
        inner()
        _note_level(own)
    outer.__module__ = module
    return njit(outer)


def test_kernels_have_their_level_and_others_keep_theirs(levels):
    usual = int(config.OPT)
    assert usual != LEVEL
    kernel = function("kernels.room.rung")
    for compiled, expected in [(kernel, [LEVEL]), (function("somebody.else"), [usual]),
                               (function("somebody.kernels.too", function("kernels.room.other")), [LEVEL, usual])]:
        levels.clear()
        compiled()
        assert levels == expected
    assert int(config.OPT) == usual


def test_the_level_is_as_before_where_a_kernel_does_not_compile(levels):
    usual = int(config.OPT)

    def wrong():
        return _nobody_knows()  # noqa: F821
    wrong.__module__ = "kernels.room.wrong"
    with pytest.raises(Exception, match="_nobody_knows"):
        njit(wrong)()
    assert int(config.OPT) == usual


def test_what_a_cached_function_calls_is_looked_at_too(tmp_path):
    """Its machine code is a part of the caller's: a change two modules away, the caller's own file as it was, is seen."""
    package = tmp_path / "kernels"
    package.mkdir()
    (package / "compiling.py").write_text(Path(compiling.__file__).read_text())
    (package / "far.py").write_text("from kernels.compiling import njit\n\n@njit(cache=True)\ndef value():\n    return 1\n")
    (package / "near.py").write_text("from kernels import (\n    far,\n)\nvalue = far.value\n")
    (package / "caller.py").write_text("from kernels.compiling import njit\nfrom kernels.near import value\n\n"
                                       "@njit(cache=True)\ndef twice():\n    return 2 * value()\n\nprint(twice())\n")

    def run():
        ran = subprocess.run([sys.executable, "-m", "kernels.caller"], cwd=tmp_path, capture_output=True, text=True, check=True,
                             env={**os.environ, "PYTHONPATH": str(tmp_path)})
        return ran.stdout.strip()
    assert [run(), run()] == ["2", "2"]
    (package / "far.py").write_text((package / "far.py").read_text().replace("return 1", "return 21"))
    assert run() == "42"
