"""DISTS: structure and texture of two pictures as VGG-16 sees them.

    pictures -> Dists.features -> Features -> Dists.distance -> (B,)

Ding, Ma, Wang and Simoncelli, "Image Quality Assessment: Unifying Structure and Texture Similarity", TPAMI 2020: of the
picture itself and five taps of VGG-16 with L2 pools (their equation 5), SSIM's luminance term of the channels' means
and its structure term of their variances, weighed by learned alpha and beta (equation 8). Alpha and beta come from the
authors' package ``dists-pytorch``, VGG-16 from a folder or torchvision's download. The authors' module cannot be built
without a download and looks at both pictures at every call; ours agrees with it in the tests. Shape legend: B batch, C
channels, H height, W width.
"""

from __future__ import annotations

import pickle
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from codec.errors import TrainingError
from training.evaluate.metrics.convolutions import VGG16
from training.evaluate.metrics.lpips import VGG
from training.evaluate.metrics.weights import WeightsSource, load_tensors, tensors_sha256

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
CHANNELS = (3, *(stage[-1].channels_out for stage in VGG16.stages))
STABILITY = 1e-6
# A Hann window of 5 without its zeros, (.5, 1, .5), in both directions.
WINDOW = ((0.25, 0.5, 0.25), (0.5, 1.0, 0.5), (0.25, 0.5, 0.25))
PACKAGE = "dists-pytorch 0.1"

Features = tuple[Tensor, ...]


class Dists:
    """The metric with its weights.

    Args:
        weights: ``features.N.weight`` and ``.bias`` of torchvision's VGG-16, and ``alpha`` and ``beta``, one value for
            each channel of the picture and the taps.
        source: where they came from.
        device: to run on.

    Raises:
        TrainingError: a tensor is missing or has the wrong shape.
    """

    def __init__(self, weights: dict[str, Tensor], source: WeightsSource, device: torch.device) -> None:
        VGG16.check(weights, source.name)
        for key in ("alpha", "beta"):
            if key not in weights or weights[key].numel() != sum(CHANNELS):
                raise TrainingError(f"{source.name}: {key} is missing or has the wrong shape; this is no DISTS")
        self.source, self.device = source, device
        self._weights = {name: tensor.to(device, torch.float32) for name, tensor in weights.items()}
        total = self._weights["alpha"].sum() + self._weights["beta"].sum()
        self._alpha = (self._weights["alpha"].flatten() / total).split(CHANNELS)
        self._beta = (self._weights["beta"].flatten() / total).split(CHANNELS)
        self._mean_C11 = torch.tensor(MEAN, device=device)[:, None, None]
        self._deviation_C11 = torch.tensor(DEVIATION, device=device)[:, None, None]
        self._window_HW = torch.tensor(WINDOW, device=device) / 4

    @torch.inference_mode()
    def features(self, image_BCHW: Tensor) -> Features:
        """Return the picture and five taps.

        Args:
            image_BCHW: RGB in [0, 1], 32 pixels or more each way; the authors scale the shorter side to 256.
        """
        image_BCHW = image_BCHW.to(self.device)
        x_BCHW = (image_BCHW - self._mean_C11) / self._deviation_C11
        return image_BCHW, *VGG16.taps(self._weights, x_BCHW, self._l2_pool)

    def _l2_pool(self, x_BCHW: Tensor) -> Tensor:
        channels = x_BCHW.shape[1]
        window_C1HW = self._window_HW.expand(channels, 1, *self._window_HW.shape)
        pooled_BCHW = functional.conv2d(x_BCHW.square(), window_C1HW, stride=2, padding=1, groups=channels)
        return (pooled_BCHW + 1e-12).sqrt()

    @torch.inference_mode()
    def distance(self, a: Features, b: Features) -> Tensor:
        """Return the distance of each pair, (B,), on the CPU in float64; 0 is alike."""
        total_B = torch.zeros(max(len(a[0]), len(b[0])), device=self.device)
        for tap_a_BCHW, tap_b_BCHW, alpha_C, beta_C in zip(a, b, self._alpha, self._beta, strict=True):
            mean_a_BC, mean_b_BC = tap_a_BCHW.mean((2, 3)), tap_b_BCHW.mean((2, 3))
            texture_BC = (2 * mean_a_BC * mean_b_BC + STABILITY) / (mean_a_BC**2 + mean_b_BC**2 + STABILITY)
            off_a_BCHW = tap_a_BCHW - mean_a_BC[..., None, None]
            off_b_BCHW = tap_b_BCHW - mean_b_BC[..., None, None]
            variances_BC = off_a_BCHW.square().mean((2, 3)) + off_b_BCHW.square().mean((2, 3))
            structure_BC = (2 * (off_a_BCHW * off_b_BCHW).mean((2, 3)) + STABILITY) / (variances_BC + STABILITY)
            total_B = total_B + texture_BC @ alpha_C + structure_BC @ beta_C
        return 1 - total_B.double().cpu()


def load_dists(folder: Path | None, device: torch.device) -> Dists:
    """Load the metric.

    Args:
        folder: holds ``vgg16_lpips_fp16.safetensors``; None downloads torchvision's VGG-16.
        device: to run on.

    Raises:
        TrainingError: no weights are to be had; the message says how to get them.
    """
    weights, name = _alpha_and_beta(), f"torchvision's VGG-16 with {PACKAGE}"
    if folder is None:
        weights |= _torchvision_vgg16()
    else:
        weights |= {key: value for key, value in load_tensors(folder / VGG.file).items() if key.startswith("features.")}
        name = f"{VGG.file} with {PACKAGE}"
    return Dists(weights, WeightsSource(name, tensors_sha256(weights)), device)


def _alpha_and_beta() -> dict[str, Tensor]:
    spec = find_spec("DISTS_pytorch")
    if spec is None or spec.origin is None:
        raise TrainingError("DISTS needs its alpha and beta: pip install dists-pytorch==0.1")
    path = Path(spec.origin).parent / "weights.pt"
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error
    return {"alpha": stored["alpha"].detach(), "beta": stored["beta"].detach()}


def _torchvision_vgg16() -> dict[str, Tensor]:
    from torchvision.models import VGG16_Weights

    try:
        state = VGG16_Weights.IMAGENET1K_V1.get_state_dict(progress=True)
    except OSError as error:
        raise TrainingError(
            f"VGG-16 cannot be downloaded ({error}); give --loss-weights a folder with {VGG.file}"
        ) from error
    return {key: value for key, value in state.items() if key.startswith("features.")}
