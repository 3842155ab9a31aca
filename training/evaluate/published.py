"""Published figures of the paper and of those it compares with, to the digits that are published.

Mallya, Wang and Liu, "Implicit Warping for Animation with Image Sets", NeurIPS 2022, arXiv 2210.01794, and table 5 of
its supplement. A figure that is not here is printed as a dash: face-vid2vid and AA-PCA are in the paper's tables, but
their figures are not at hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PAPER = "arXiv 2210.01794"
SUPPLEMENT = "arXiv 2210.01794, supplement, table 5"

FOMM, FACE_VID2VID, AA_PCA, IMPLICIT_WARPING = "FOMM", "face-vid2vid", "AA-PCA", "Implicit Warping (the paper)"
METHODS = (FOMM, FACE_VID2VID, AA_PCA, IMPLICIT_WARPING)


@dataclass(frozen=True, slots=True)
class Published:
    """One line of a published table.

    Attributes:
        dataset: name as in ``protocols.DATASETS``.
        size: height and width of the pictures, pixels.
        method: whose figures.
        references: number of sources.
        figures: by the names of ``tally.Scores``, and ``fid``.
        source: where they stand.
        deviations: standard deviations over trainings, where they are published.
    """

    dataset: str
    size: int
    method: str
    references: int
    figures: dict[str, str]
    source: str
    deviations: dict[str, str] = field(default_factory=dict)


def _lines(
    dataset: str, size: int, method: str, names: tuple[str, ...], columns: tuple[tuple[str | None, ...], ...]
) -> tuple[Published, ...]:
    return tuple(
        Published(
            dataset,
            size,
            method,
            number,
            {name: value for name, value in zip(names, column, strict=True) if value is not None},
            PAPER,
        )
        for number, column in enumerate(columns, start=1)
    )


FACE = ("psnr_db", "l1", "lpips_alex", "akd", "fid")
BODY = ("psnr_db", "l1", "lpips_alex", "body_akd_01", "body_mkr_01", "fid")

PUBLISHED: tuple[Published, ...] = (
    *_lines(
        "talkinghead-1kh",
        512,
        FOMM,
        FACE,
        (
            ("24.26", "11.1", "0.139", "5.04", "17.5"),
            ("25.43", "9.0", "0.116", "4.66", "19.6"),
            ("26.04", "8.2", "0.109", "4.48", "19.5"),
        ),
    ),
    *_lines(
        "talkinghead-1kh",
        512,
        IMPLICIT_WARPING,
        FACE,
        (
            ("24.28", "11.15", "0.130", "4.37", "15.7"),
            ("26.09", "7.99", "0.089", "4.03", "9.9"),
            ("26.77", "7.35", "0.081", "3.96", "9.1"),
        ),
    ),
    *_lines("voxceleb2", 256, IMPLICIT_WARPING, FACE, (("23.54", "11.40", "0.11", "1.75", "4.68"),)),
    *_lines(
        "ted-talk",
        384,
        IMPLICIT_WARPING,
        BODY,
        (
            ("25.19", "7.74", "0.119", "4.44", "0.005", "17.7"),
            ("26.53", "6.60", "0.088", None, None, "13.8"),
            ("26.88", "6.32", "0.081", "3.99", "0.004", "13.1"),
        ),
    ),
)


def _ablation(method: str, *pairs: tuple[str, str]) -> Published:
    figures = {name: mean for name, (mean, _) in zip(FACE, pairs, strict=True)}
    deviations = {name: deviation for name, (_, deviation) in zip(FACE, pairs, strict=True)}
    return Published("talkinghead-1kh", 256, method, 1, figures, SUPPLEMENT, deviations)


ABLATIONS: tuple[Published, ...] = (
    _ablation(
        "no residual connection, no extra key-value",
        ("23.253", "0.21"),
        ("12.741", "0.30"),
        ("0.122", "0.005"),
        ("1.969", "0.02"),
        ("19.978", "0.83"),
    ),
    _ablation(
        "residual connection",
        ("23.483", "0.12"),
        ("12.721", "0.26"),
        ("0.114", "0.02"),
        ("1.914", "0.01"),
        ("18.462", "0.15"),
    ),
    _ablation(
        "residual connection, extra key-value",
        ("23.582", "0.30"),
        ("12.632", "0.20"),
        ("0.113", "0.004"),
        ("1.895", "0.08"),
        ("18.252", "0.66"),
    ),
)
