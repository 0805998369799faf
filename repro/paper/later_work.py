"""Results that later work reports, to be shown beside those of the variants; ``source`` has the arXiv id."""

from dataclasses import dataclass

_CIFAR, _PAIR = "accuracy, %", "CIFAR-100, ResNet32x4 to ResNet8x4"


@dataclass(frozen=True)
class VariantFigure:
    """A result that a publication reports: of a method and of its baseline, on the data and models of ``testbed``."""

    method: str
    source: str
    testbed: str
    measure: str
    baseline: str
    result: str


VARIANTS = (
    VariantFigure("KD", "as compared by Tian et al. 2020 (arXiv:1910.10699)", _PAIR, _CIFAR, "72.50 alone", "73.33"),
    VariantFigure(
        "FitNets (hints)", "as compared by Tian et al. 2020 (arXiv:1910.10699)", _PAIR, _CIFAR, "73.33 KD", "73.50"
    ),
    VariantFigure(
        "attention transfer", "as compared by Tian et al. 2020 (arXiv:1910.10699)", _PAIR, _CIFAR, "73.33 KD", "73.44"
    ),
    VariantFigure(
        "FitNets (hints)", "Romero et al. 2015 (arXiv:1412.6550)", "CIFAR-10", _CIFAR, "90.18 teacher", "91.61"
    ),
    VariantFigure(
        "attention transfer",
        "Zagoruyko & Komodakis 2017 (arXiv:1612.03928)",
        "CIFAR-10, WRN-16-2 to WRN-16-1",
        "error, %",
        "8.77 alone",
        "7.93",
    ),
    VariantFigure(
        "born again",
        "Furlanello et al. 2018 (arXiv:1805.04770)",
        "CIFAR-100, DenseNet-112-33",
        "error, %",
        "18.25 teacher",
        "17.61, 17.22, 16.59 (generations 1 to 3)",
    ),
    VariantFigure(
        "self-distillation",
        "Zhang et al. 2019 (arXiv:1905.08094)",
        "CIFAR-100, mean over nets",
        "points of accuracy",
        "0",
        "+2.65",
    ),
    VariantFigure(
        "teacher assistants",
        "Mirzadeh et al. 2020 (arXiv:1902.03393)",
        "CIFAR-100, ResNet-110 to ResNet-8 via ResNet-20",
        _CIFAR,
        "61.41 KD",
        "61.82",
    ),
    VariantFigure("DKD", "Zhao et al. 2022 (arXiv:2203.08679)", _PAIR, _CIFAR, "73.33 KD", "76.32"),
    VariantFigure("logit standardization", "Sun et al. 2024 (arXiv:2403.01427)", _PAIR, _CIFAR, "73.33 KD", "76.62"),
    VariantFigure("DIST", "Huang et al. 2022 (arXiv:2205.10536)", _PAIR, _CIFAR, "73.33 KD", "76.31"),
    VariantFigure(
        "early-stopped teacher",
        "Cho & Hariharan 2019 (arXiv:1910.01348)",
        "ImageNet, ResNet-34 to ResNet-18",
        "error, %",
        "30.24 alone, 30.79 KD",
        "29.16 (not verified)",
    ),
    VariantFigure(
        "born-again ensemble (3)",
        "Furlanello et al. 2018 (arXiv:1805.04770)",
        "CIFAR-100, DenseNet-80-120",
        "error, %",
        "16.87 teacher",
        "14.90",
    ),
    VariantFigure(
        "teacher assistants",
        "Mirzadeh et al. 2020 (arXiv:1902.03393)",
        "CIFAR-10, ResNet-8 via ResNet-56, 32, 20, 14",
        _CIFAR,
        "88.65 KD",
        "88.70, 88.73, 88.90, 88.98",
    ),
    VariantFigure(
        "consistent views, long training",
        "Beyer et al. 2022 (arXiv:2106.05237)",
        "ImageNet, ResNet-152x2 to ResNet-50",
        _CIFAR,
        "83.0 teacher",
        "82.8",
    ),
)
