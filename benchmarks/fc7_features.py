"""FC7 features for another task: a VGG learns some classes, and a linear classifier on its FC7 tells apart others.

    python -m benchmarks.fc7_features ../shared/data/cifar10-jpeg.zip --out benchmarks/results/fc7_features.json

The data set is CIFAR-10 as images in class folders. VGG-11 with batch norm is trained on the six animals at 32x32, and never
sees a vehicle. Then the four kinds of vehicle are told apart by the same least-squares linear classifier on four kinds of
features of the same few training images: the trained network's FC7, its last pooling, an untrained network's FC7, the pixels.
Source: Simonyan and Zisserman 2015, appendix B.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

import minicnn
from minicnn import data, models, optim
from minicnn.study import machine
from minicnn.training import Trainer, fit_linear, layer_features
from minicnn.training.linear_probe import normalized
from minicnn.training.progress import Lines

VEHICLES = ("airplane", "automobile", "ship", "truck")
MODEL, SIDE = "vgg11_bn", 32


def chosen(dataset, names, per_class):
    """The first `per_class` images of each class named -> (Subset, labels from 0 in the order of `names`)."""
    labels = np.asarray(dataset.labels)
    parts = [np.flatnonzero(labels == dataset.classes.index(name))[:per_class] for name in names]
    return data.subset(dataset, np.concatenate(parts)), np.repeat(np.arange(len(names)), [len(part) for part in parts])


def train_on_animals(train, test, names, per_class, epochs):
    """(trained network, its accuracy on the animals' test images); it keeps one output for each of the data set's classes."""
    model = models.create(MODEL, num_classes=len(train.classes))
    shape = (3, SIDE, SIDE)
    images, held = chosen(train, names, per_class)[0], chosen(test, names, None)[0]
    loader = data.Loader(images, 64, data.default_transforms(images, shape, train=True), shuffle=True)
    optimizer = optim.SGD(model.parameters(), 0.02, 0.9, 5e-4, nesterov=True)
    trainer = Trainer(model, loader, data.Loader(held, 100, data.default_transforms(held, shape, train=False)), optimizer,
                      optim.Cosine(optimizer, epochs * len(loader)), schedule_unit="iteration", epochs=epochs,
                      reporter=Lines())
    return model, trainer.run()[-1]["test_accuracy"]


def accuracy(features, labels, test_features, test_labels, classes):
    """Of the linear classifier fitted to the first pair, on the second."""
    probe = fit_linear(features, labels, classes)
    return float((probe(np.asarray(test_features, np.float32)).data.argmax(1) == test_labels).mean())


def compare(model, train, test, per_class):
    """{what the linear classifier sees: accuracy on the vehicles' test images}"""
    splits = [chosen(train, VEHICLES, per_class), chosen(test, VEHICLES, None)]
    loaders = [data.Loader(images, 100, data.default_transforms(images, (3, SIDE, SIDE), train=False)) for images, _ in splits]
    labels = [split[1] for split in splits]
    seen = {"FC7, trained on animals": [layer_features(model, "fc7", loader)[0] for loader in loaders],
            "last pooling, trained on animals": [layer_features(model, "pool5", loader)[0] for loader in loaders]}
    untrained = models.create(MODEL, num_classes=len(train.classes))
    seen["FC7, untrained"] = [layer_features(untrained, "fc7", loader)[0] for loader in loaders]
    seen["pixels"] = [normalized(np.concatenate([images.reshape(len(images), -1) for images, _ in loader]))
                      for loader in loaders]
    return {what: accuracy(pair[0], labels[0], pair[1], labels[1], len(VEHICLES)) for what, pair in seen.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="CIFAR-10 as images in class folders, a folder or .zip")
    parser.add_argument("--animals", type=int, default=1000, metavar="N", help="training images of each animal (1000)")
    parser.add_argument("--vehicles", type=int, default=100, metavar="N", help="of each vehicle to fit with (100)")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    minicnn.seed(0)
    train, test = (data.open_dataset(args.data, split) for split in ("train", "test"))
    animals = [name for name in train.classes if name not in VEHICLES]
    start = time.perf_counter()
    model, own = train_on_animals(train, test, animals, args.animals, args.epochs)
    seconds = time.perf_counter() - start
    found = compare(model, train, test, args.vehicles)
    print(f"{MODEL} knows {own:.1%} of the animals' test images after {args.epochs} epochs of {args.animals} images of each")
    for what, share in found.items():
        print(f"{share:6.1%} of the vehicles' test images right: linear classifier on {what}, {args.vehicles} images a class")
    if args.out:
        facts = {key: machine.facts()[key] for key in ("versions", "cpu", "threads")}
        args.out.write_text(json.dumps({
            "model": MODEL, "side": SIDE, "animals": args.animals, "vehicles": args.vehicles, "epochs": args.epochs,
            "training_seconds": seconds, "accuracy_on_animals": own, "accuracy_on_vehicles": found, "machine": facts},
            indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
