"""One door to every network that can be trained: ours, its rivals, each also at less resolution."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ngat.baselines.convolutional import Rival
from ngat.config import ModelConfig, RivalConfig
from ngat.model import NGAT, Output


class Shrunk(nn.Module):
    """A network at reduced resolution, for pictures and targets at the full one.

    Blocks of s × s pixels are averaged, with what the picture has of those that overhang; targets
    become shares of nucleus, like those of coarse nodes. The loss is measured on the reduced
    pixels, the probabilities are enlarged bilinearly.

    Args:
        network: has ``config.shrink``, the factor s.
    """

    def __init__(self, network: NGAT | Rival) -> None:
        super().__init__()
        self.network, self.config = network, network.config

    def forward(self, image: Tensor, targets: Tensor | None = None) -> Output:
        """The network's output for the reduced picture; arguments and errors are the network's."""
        known = None if targets is None else self._reduced(targets)
        output: Output = self.network(self._reduced(image), known)
        return output

    def reconstruct(self, output: Output) -> Tensor:
        """Probabilities ``[B, K, H', W']``, H' and W' being H and W rounded up to blocks."""
        small = self.network.reconstruct(output)
        return F.interpolate(small, scale_factor=self.config.shrink, mode="bilinear")

    def _reduced(self, pixels: Tensor) -> Tensor:
        return F.avg_pool2d(pixels, self.config.shrink, ceil_mode=True, count_include_pad=False)


Network = NGAT | Rival | Shrunk


def build(config: ModelConfig | RivalConfig) -> Network:
    """The network of a configuration, with random weights.

    Raises:
        InputError: a configuration that makes no network.
        MissingDependency: a rival's library is not installed.
    """
    network = Rival(config) if isinstance(config, RivalConfig) else NGAT(config)
    return network if config.shrink == 1 else Shrunk(network)
