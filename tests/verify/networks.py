"""Small random networks and boxes in which a grid can look everywhere."""

import itertools

import numpy as np
import torch
from torch import nn

from moosearch.verify import Box, Piecewise

SHAPE = (1, 6, 6)


def networks(seed):
    """Networks of every kind of layer that can be verified, with their images' shape."""
    torch.manual_seed(seed)
    pooled = nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(8, 4)
    )
    before = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(18, 5), nn.ReLU()
    )
    before.append(nn.Linear(5, 4))
    averaged = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Dropout(),
        nn.AvgPool2d(2),
        nn.Conv2d(3, 3, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, 4),
    )
    averaged[1].running_mean.uniform_(-0.5, 0.5)
    averaged[1].running_var.uniform_(0.5, 2)
    for net in (pooled, before, averaged):
        for parameter in net.parameters():
            parameter.data *= 2
    return {"pooled": pooled.eval(), "before": before.eval(), "averaged": averaged.eval()}


def case(name, seed, pixels=2):
    """A network, an image, and which of its pixels move."""
    net = networks(seed)[name]
    generator = np.random.default_rng(seed)
    x = generator.uniform(0, 1, 36)
    return net, Piecewise.of(net, SHAPE), x, generator.choice(36, pixels, replace=False)


def box_of(x, moving, eps):
    radius = np.zeros(x.size)
    radius[moving] = eps
    return Box.around(x, radius)


def grid(box, points=41):
    """All images of a grid that has the corners of the box in it."""
    moving = np.flatnonzero(box.upper > box.lower)
    axes = [np.linspace(box.lower[i], box.upper[i], points) for i in moving]
    found = np.tile(box.lower, (points ** len(moving), 1))
    found[:, moving] = list(itertools.product(*axes))
    return found
