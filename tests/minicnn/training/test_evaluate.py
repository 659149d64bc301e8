"""Scores: ranks, ties, crops, several models, several views."""

import numpy as np
import pytest

import minicnn
from minicnn import data, nn, ops
from minicnn.errors import ArgumentError, ShapeError
from minicnn.training import evaluate
from minicnn.training.evaluate import probabilities, ranks


class Given(nn.Module):
    """Gives prepared logits back, whatever the images, as often as there are images."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(np.array(logits, np.float32))

    def forward(self, x):
        return self.logits[:len(x)]


def batch(labels, *crops):
    return [(np.zeros((len(labels), *crops, 1, 2, 2), np.float32), np.array(labels))]


def softmax(logits):
    e = np.exp(np.array(logits, np.float64))
    return e / e.sum(axis=-1, keepdims=True)


def test_ranks_count_what_comes_before():
    scores = np.array([[0.1, 0.5, 0.4], [0.2, 0.2, 0.6], [0.2, 0.2, 0.6], [np.nan, np.nan, np.nan]])
    assert ranks(scores, [2, 0, 1, 0]).tolist() == [1, 1, 2, 3]


def test_counts_top1_and_top5():
    logits = np.tile(np.arange(10.0)[::-1], (4, 1))
    score = evaluate(Given(logits), batch([0, 4, 5, 9]))
    assert (score.top1, score.top5, score.n) == (1, 2, 4)
    assert score.loss == pytest.approx(-np.log(softmax(logits)[range(4), [0, 4, 5, 9]]).mean())
    assert (score.accuracy, score.top5_accuracy) == (0.25, 0.5)
    assert score.as_dict()["top5"] == 2


def test_nan_outputs_are_wrong_answers():
    score = evaluate(Given(np.full((2, 10), np.nan)), batch([0, 1]))
    assert (score.top1, score.top5) == (0, 0)


def test_an_ensemble_averages_softmax_not_logits():
    a, b = [[0.0, 8.0, 0.0]], [[3.0, 0.0, 3.1]]
    p = (softmax(a) + softmax(b)) / 2
    score = evaluate([Given(a), Given(b)], batch([1]))
    assert score.loss == pytest.approx(-np.log(p[0, 1]), rel=1e-6)


def test_crops_are_averaged():
    logits = [[1.0, 2.0], [3.0, 0.0], [0.0, 0.0], [0.0, 5.0]]
    p = probabilities(Given(logits), np.zeros((2, 2, 1, 2, 2), np.float32))
    np.testing.assert_allclose(p, softmax(logits).reshape(2, 2, 2).mean(axis=1), rtol=1e-6)


def test_views_from_several_loaders_are_averaged():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(np.ones((), np.float32))

        def forward(self, x):
            return ops.concat([ops.reshape(ops.sum(x * self.w, axis=(1, 2, 3)), (-1, 1)), np.zeros((len(x), 1), np.float32)])
    views = [[(np.full((1, 1, 1, 1), v, np.float32), np.array([0]))] for v in (1.0, -2.0)]
    score = evaluate(Sum(), *views)
    assert score.loss == pytest.approx(-np.log(np.mean([softmax([1, 0])[0], softmax([-2, 0])[0]])), rel=1e-6)


def test_evaluation_records_nothing_and_uses_running_statistics(tiny):
    minicnn.seed(0)
    model = tiny.TinyNet()
    before = model.bn.running_mean.copy()
    _, test = tiny.loaders()
    seen = []
    assert evaluate(model, test, advance=seen.append).n == 50
    assert seen == [50]
    assert not model.training
    assert (model.bn.running_mean == before).all()


def test_limit_batches(tiny):
    train, _ = tiny.loaders(batch_size=20)
    assert evaluate(tiny.TinyNet(), train, limit_batches=2).n == 40


def test_errors(tiny):
    _, test = tiny.loaders()
    with pytest.raises(ShapeError, match=r"network gives 7 classes, the data set has 10"):
        evaluate(tiny.TinyNet(num_classes=7), test)
    with pytest.raises(ArgumentError, match="no model given"):
        evaluate([], test)
    with pytest.raises(ArgumentError, match="the loader gave no images"):
        evaluate(Given([[0.0, 1.0]]), [])


def test_a_loader_of_images_in_memory():
    images = np.zeros((3, 4, 4, 1), np.uint8)
    dataset = data.ArrayDataset(images, [0, 1, 1], ["a", "b"])
    score = evaluate(Given([[1.0, 0.0]] * 3), data.Loader(dataset, 2, workers=0))
    assert (score.top1, score.top5, score.n) == (1, 3, 3)
