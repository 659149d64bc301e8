"""Training and evaluating networks.

    from minicnn.training import Configuration, prepare
    history = prepare(Configuration("resnet20", "digits"), folder="runs/first").run()

or, piece by piece, Trainer(model, train_loader, test_loader, optimizer, schedule, epochs=10).run().
"""

from minicnn.training.checkpoint import load_checkpoint, model_weights, save_checkpoint, saved_checkpoints
from minicnn.training.evaluate import Score, evaluate
from minicnn.training.linear_probe import fit_linear, layer_features
from minicnn.training.session import Configuration, prepare, resume
from minicnn.training.trainer import Options, Trainer

__all__ = ["Configuration", "Options", "Score", "Trainer", "evaluate", "fit_linear", "layer_features", "load_checkpoint",
           "model_weights", "prepare", "resume", "save_checkpoint", "saved_checkpoints"]
