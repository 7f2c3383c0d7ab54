"""Tiny training runs of both models."""

from dataclasses import replace

import torch

from models.training.networks import DECODER_ONLY, SEQ2SEQ, Sizes
from models.training.train import Options, Run, train

CPU = torch.device("cpu")
TINY = {SEQ2SEQ: Sizes(50, 32, 64, 4, 2, 2), DECODER_ONLY: Sizes(50, 32, 48, 4, 0, 2)}


def open_run(folder, work, model, seed=1):
    sizes = replace(TINY[model], vocabulary=96)
    return Run(folder, work, Options(model, sizes, warmup=3, seed=seed, dropout=0.1), CPU)


def train_steps(run, steps, cooldown=0):
    return train(run, float("inf"), steps, cooldown, float("inf"), float("inf"))
