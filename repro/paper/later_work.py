"""What later work printed, beside which the variants are shown."""

from dataclasses import dataclass

_CIFAR, _PAIR = "accuracy, %", "CIFAR-100, ResNet32x4 teaches ResNet8x4"


@dataclass(frozen=True)
class VariantFigure:
    """A figure that a method's own paper prints: what its baseline has, and what the method."""

    method: str
    source: str
    bench: str
    measure: str
    baseline: str
    figure: str


VARIANTS = (
    VariantFigure("soft targets", "as compared by Tian et al. 2020", _PAIR, _CIFAR, "72.50 alone", "73.33"),
    VariantFigure("fitnets", "as compared by Tian et al. 2020", _PAIR, _CIFAR, "73.33 soft targets", "73.50"),
    VariantFigure("attention", "as compared by Tian et al. 2020", _PAIR, _CIFAR, "73.33 soft targets", "73.44"),
    VariantFigure("fitnets", "Romero et al. 2015", "CIFAR-10", _CIFAR, "90.18 teacher", "91.61"),
    VariantFigure(
        "attention",
        "Zagoruyko & Komodakis 2017",
        "CIFAR-10, WRN-16-2 teaches WRN-16-1",
        "error, %",
        "8.77 alone",
        "7.93",
    ),
    VariantFigure(
        "born again",
        "Furlanello et al. 2018",
        "CIFAR-100, DenseNet-112-33",
        "error, %",
        "18.25 teacher",
        "17.61, 17.22, 16.59 (generations 1 to 3)",
    ),
    VariantFigure(
        "self-distillation", "Zhang et al. 2019", "CIFAR-100, mean over nets", "points of accuracy", "0", "+2.65"
    ),
    VariantFigure(
        "by way of assistants",
        "Mirzadeh et al. 2020",
        "CIFAR-100, ResNet-110 teaches ResNet-8 through 20",
        _CIFAR,
        "61.41 soft targets",
        "61.82",
    ),
    VariantFigure("dkd", "Zhao et al. 2022", _PAIR, _CIFAR, "73.33 soft targets", "76.32"),
    VariantFigure("standardised logits", "Sun et al. 2024", _PAIR, _CIFAR, "73.33 soft targets", "76.62"),
    VariantFigure("correlation (DIST)", "Huang et al. 2022", _PAIR, _CIFAR, "73.33 soft targets", "76.31"),
    VariantFigure(
        "early-stopped teacher",
        "Cho & Hariharan 2019",
        "ImageNet, ResNet-34 teaches ResNet-18",
        "error, %",
        "30.24 alone, 30.79 soft targets",
        "29.16 (recalled)",
    ),
    VariantFigure(
        "born again, mean of 3",
        "Furlanello et al. 2018",
        "CIFAR-100, DenseNet-80-120",
        "error, %",
        "16.87 teacher",
        "14.90",
    ),
    VariantFigure(
        "by way of assistants",
        "Mirzadeh et al. 2020",
        "CIFAR-10, ResNet-8 through ResNet-56, 32, 20, 14",
        _CIFAR,
        "88.65 soft targets",
        "88.70, 88.73, 88.90, 88.98",
    ),
    VariantFigure(
        "consistent views, long training",
        "Beyer et al. 2022",
        "ImageNet, ResNet-152x2 teaches ResNet-50",
        _CIFAR,
        "83.0 teacher",
        "82.8",
    ),
)
