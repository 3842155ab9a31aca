"""The convolutions of AlexNet and VGG-16, from which LPIPS and DISTS take their taps.

    picture -> stage, pool, stage, ... -> one tap a stage, after its last ReLU

Indices are torchvision's (``features.N``), so that its weights fit; the networks themselves are Krizhevsky et al. 2012
(as in "One weird trick") and Simonyan and Zisserman 2015, configuration D. Shape legend: B batch, C channels, H height,
W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from codec.errors import TrainingError

Pool = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution with the ReLU after it."""

    index: int
    channels_in: int
    channels_out: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1

    @property
    def weight(self) -> str:
        """Name of the kernel's tensor."""
        return f"features.{self.index}.weight"

    @property
    def bias(self) -> str:
        """Name of the bias's tensor."""
        return f"features.{self.index}.bias"


@dataclass(frozen=True, slots=True)
class Network:
    """Stages of convolutions with pools of stride 2 between them.

    Attributes:
        name: torchvision's.
        stages: convolutions; a tap follows each stage.
        pooled: stages that a pool precedes.
        pool_size: height and width of the maximum pool.
    """

    name: str
    stages: tuple[tuple[Convolution, ...], ...]
    pooled: tuple[int, ...]
    pool_size: int

    @property
    def convolutions(self) -> Iterator[Convolution]:
        """All convolutions in order."""
        return (layer for stage in self.stages for layer in stage)

    def max_pool(self, x_BCHW: Tensor) -> Tensor:
        """Pool as the network itself does."""
        return functional.max_pool2d(x_BCHW, kernel_size=self.pool_size, stride=2)

    def taps(self, weights: Mapping[str, Tensor], x_BCHW: Tensor, pool: Pool) -> Iterator[Tensor]:
        """Give the output of each stage."""
        for number, stage in enumerate(self.stages):
            if number in self.pooled:
                x_BCHW = pool(x_BCHW)
            for layer in stage:
                x_BCHW = functional.relu(
                    functional.conv2d(x_BCHW, weights[layer.weight], weights[layer.bias], layer.stride, layer.padding)
                )
            yield x_BCHW

    def check(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Check that weights fit.

        Raises:
            TrainingError: a tensor is missing or has the wrong shape.
        """
        for layer in self.convolutions:
            shape = (layer.channels_out, layer.channels_in, layer.kernel, layer.kernel)
            for key, expected in ((layer.weight, shape), (layer.bias, shape[:1])):
                if key not in weights or weights[key].shape != expected:
                    raise TrainingError(f"{source}: {key} is missing or has the wrong shape; this is no {self.name}")


ALEXNET = Network(
    name="alexnet",
    stages=(
        (Convolution(0, 3, 64, kernel=11, stride=4, padding=2),),
        (Convolution(3, 64, 192, kernel=5, padding=2),),
        (Convolution(6, 192, 384),),
        (Convolution(8, 384, 256),),
        (Convolution(10, 256, 256),),
    ),
    pooled=(1, 2),
    pool_size=3,
)
VGG16 = Network(
    name="vgg16",
    stages=(
        (Convolution(0, 3, 64), Convolution(2, 64, 64)),
        (Convolution(5, 64, 128), Convolution(7, 128, 128)),
        (Convolution(10, 128, 256), Convolution(12, 256, 256), Convolution(14, 256, 256)),
        (Convolution(17, 256, 512), Convolution(19, 512, 512), Convolution(21, 512, 512)),
        (Convolution(24, 512, 512), Convolution(26, 512, 512), Convolution(28, 512, 512)),
    ),
    pooled=(1, 2, 3, 4),
    pool_size=2,
)
