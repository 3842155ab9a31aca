"""Relative motion: what a driver does, done by another face.

    driver's keypoints, anchor's keypoints -> Motion.of -> Motion -> moved keypoints, moved landmarks

FOMM (Siarohin et al. 2019, section 3.5): a keypoint stands where it stands in the anchor, a picture of the animated
person, plus what it has moved in the driver since the frame that is most like the anchor. The motion is scaled by the
two faces' sizes. Shape legend: N frames, K keypoints, 5 landmarks, 2 = (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Motion:
    """How a driver's motion is carried to another face.

    Attributes:
        start: the driver's frame that is most like the anchor.
        scale: size of the anchor's face in units of the driver's.
    """

    start: int
    scale: float

    @classmethod
    def of(cls, driver_NK2: Points, anchor_K2: Points) -> Motion:
        """Find the driver's frame whose keypoints, centred and scaled, are nearest to the anchor's."""
        shapes_NK2, sizes_N = _shapes(driver_NK2)
        (anchor_shape_K2,), (anchor_size,) = _shapes(anchor_K2[None])
        start = int(np.square(shapes_NK2 - anchor_shape_K2).sum(axis=(1, 2)).argmin())
        return cls(start, float(anchor_size / sizes_N[start]))

    def moved(self, driver_NP2: Points, anchor_P2: Points) -> Points:
        """Return points of the anchor moved as the driver's are, (N, P, 2).

        Args:
            driver_NP2: the driver's points, all frames.
            anchor_P2: the same points in the anchor.
        """
        moved_NP2: Points = anchor_P2 + self.scale * (driver_NP2 - driver_NP2[self.start])
        return moved_NP2


def _shapes(points_NK2: Points) -> tuple[Points, npt.NDArray[np.float64]]:
    """Return points centred and of size 1, and their sizes: root mean square distances from their middle."""
    centred_NK2 = points_NK2 - points_NK2.mean(axis=1, keepdims=True)
    sizes_N = np.sqrt(np.square(centred_NK2).sum(axis=2).mean(axis=1)).clip(1e-9)
    return centred_NK2 / sizes_N[:, None, None], sizes_N
