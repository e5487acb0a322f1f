"""PyTorch's gradient of an IMPALA network for `benchmarks.population_conv`; the protocol of `rejax_training.py`."""

# pyright: reportMissingImports=false
import json
import sys
from importlib.metadata import version

import torch
from torch import nn

settings = json.loads(sys.argv[1])


class Residual(nn.Module):
    """Two convolutions and a skip."""

    def __init__(self, channels):
        """`channels` in and out."""
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x):
        """`[N, C, H, W]` to the same."""
        return x + self.second(torch.relu(self.first(torch.relu(x))))


def encoder():
    """64 × 64 × 3 images to 256 features."""
    layers, channels = [], 3
    for width in (16, 32, 32):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.MaxPool2d(3, 2, 1), Residual(width), Residual(width)]
        channels = width
    return nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(2048, 256), nn.ReLU())


network, heads = encoder(), nn.Linear(256, settings["num_actions"] + 1)
parameters = [*network.parameters(), *heads.parameters()]
images = torch.randint(0, 256, (settings["batch"], 3, 64, 64), dtype=torch.uint8)
images = images.contiguous(memory_format=torch.channels_last)
print(json.dumps({"compile_seconds": "", "versions": {"torch": version("torch")}}), flush=True)
for _ in sys.stdin:
    for _ in range(settings["steps"]):
        output = heads(network(images.float() / 255))
        log_prob = torch.log_softmax(output[:, 1:], dim=-1)[:, 0]
        loss = (log_prob + output[:, 0] ** 2).mean()
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 1e-4 * gradient
    print("{}", flush=True)
