"""Every planted bug is found, and most are named."""

import numpy as np
import pytest
from gradcheck_corpus import BUGS

from minicnn import gradcheck


def test_the_corpus_is_large_and_most_of_it_must_be_named():
    assert len(BUGS) >= 120
    assert len({(bug.op, bug.name) for bug in BUGS}) == len(BUGS)
    assert sum(bool(bug.kinds) for bug in BUGS) >= 0.7 * len(BUGS)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.op}: {bug.name}")
def test_bug_is_found(bug):
    report = gradcheck.check(bug.function(), bug.arrays(np.random.default_rng(0)), reference=bug.reference)
    assert not report
    kinds = {failure.kind for failure in report.failures}
    assert not bug.kinds or kinds & bug.kinds, f"not named {bug.kinds} but {kinds}\n{report}"


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.forward is None and bug.backward is not None], ids=lambda bug: (
    f"{bug.op}: {bug.name}"))
def test_bug_is_found_by_projections_alone(bug):
    """As in a large array, where no time is left to test every element."""
    report = gradcheck.check(bug.function(), bug.arrays(np.random.default_rng(1)), reference=bug.reference, seconds=0.0)
    assert not report
