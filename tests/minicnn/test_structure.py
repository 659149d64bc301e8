"""The house stays as CONTRIBUTING.md draws it: arrows point one way, every op has a case, every room its ladder."""

import ast
from pathlib import Path

import pytest
from op_cases import CASES

import kernels
import minicnn.ops
from minicnn.autograd import Op

ROOT = Path(minicnn.__file__).parents[1]

# What each package may import of the project. Deeper layers stand first.
ARROWS = {
    "kernels": {"kernels"},
    "minicnn.errors": {"kernels.errors"},
    "minicnn.random": {"minicnn.errors"},
    "minicnn.autograd": {"kernels", "minicnn.errors"},
    "minicnn.ops": {"kernels", "minicnn.autograd", "minicnn.errors", "minicnn.random", "minicnn.ops", "minicnn"},
    "minicnn.nn": {"kernels", "minicnn.autograd", "minicnn.errors", "minicnn.random", "minicnn.ops", "minicnn.nn", "minicnn"},
    "minicnn.optim": {"kernels", "minicnn.errors", "minicnn.optim"},
    "minicnn.data": {"minicnn.errors", "minicnn.data"},
    "minicnn.io": {"minicnn.errors", "minicnn.io"},
    "minicnn.models": {"kernels", "minicnn.autograd", "minicnn.errors", "minicnn.random", "minicnn.ops", "minicnn.nn",
                       "minicnn.models", "minicnn"},
}
SIDEWAYS = {"autograd", "errors", "random", "ops", "nn"}     # names that `from minicnn import …` may fetch in these rooms


def imports(path):
    """Dotted names that a file imports from the project."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in ("minicnn", "kernels"))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("minicnn", "kernels"):
            if node.module == "minicnn":
                yield from (f"minicnn.{alias.name}" for alias in node.names)
            else:
                yield node.module


def files(package):
    place = ROOT.joinpath(*package.split("."))
    return sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


@pytest.mark.parametrize("package", ARROWS)
def test_arrows_point_one_way(package):
    for path in files(package):
        for name in imports(path):
            allowed = any(name == a or name.startswith(a + ".") for a in ARROWS[package] if a != "minicnn")
            allowed = allowed or ("minicnn" in ARROWS[package] and name.split(".")[1:2] and name.split(".")[1] in SIDEWAYS)
            assert allowed, f"{path.relative_to(ROOT)} imports {name}, which {package} may not; see CONTRIBUTING.md"


def op_classes():
    found, stack = {}, [Op]
    while stack:
        for subclass in stack.pop().__subclasses__():
            stack.append(subclass)
            if subclass.__module__.startswith("minicnn.ops") and not subclass.__name__.startswith("_"):
                found[subclass.__name__] = subclass
    return found


def test_every_op_has_a_case():
    missing = set(op_classes()) - {case.op for case in CASES}
    assert not missing, f"ops without a case in tests/op_cases.py: {sorted(missing)}"


def test_every_op_has_a_docstring():
    for name, op in op_classes().items():
        assert op.__doc__, f"{name} has no docstring with its formula"


@pytest.mark.parametrize("room", kernels.ROOMS)
def test_every_rung_has_the_same_functions(room):
    ladder = kernels.ROOMS[room]
    assert ladder.rungs[0] == "reference"
    reference = ladder.rung("reference")
    for name, function in vars(reference).items():
        if callable(function) and not name.startswith("_") and function.__module__ == reference.__name__ and name != "uniform":
            for rung in ladder.rungs[1:]:
                assert callable(getattr(ladder.rung(rung), name, None)), f"{room}/{rung} has no {name}"


@pytest.mark.parametrize("room", kernels.ROOMS)
def test_reference_stands_alone(room):
    """The oracle of the other rungs: no Numba, nothing of theirs."""
    path = ROOT / "kernels" / room / "reference.py"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else (
            [node.module] if isinstance(node, ast.ImportFrom) else [])
        assert set(names) <= {"numpy", "kernels.geometry"}, f"{room}/reference.py imports {names}"


def test_no_long_functions():
    """A function of more than 70 lines is two functions."""
    for package in ("kernels", "minicnn"):
        for path in files(package):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef):
                    lines = node.end_lineno - node.lineno + 1
                    assert lines <= 70, f"{path.relative_to(ROOT)}: {node.name} has {lines} lines"


def test_fastmath_is_never_true():
    """Named flags only: NaN and infinity must survive."""
    for path in files("kernels"):
        assert "fastmath=True" not in path.read_text(encoding="utf-8"), path
