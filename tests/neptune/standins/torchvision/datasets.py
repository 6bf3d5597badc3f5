"""Data sets of noise."""

from __future__ import annotations

from typing import Any

import torch


class Noise(torch.utils.data.Dataset):  # type: ignore[type-arg]  # of any data
    """Images of noise, with classes by chance."""

    def __init__(self, size: int, shape: tuple[int, ...], classes: int) -> None:
        self.size, self.shape, self.classes = size, shape, classes

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, number: int) -> tuple[Any, int]:
        if number >= self.size:
            raise IndexError(number)
        chance = torch.Generator().manual_seed(int(number))
        return torch.rand(*self.shape, generator=chance), int(torch.randint(0, self.classes, (1,), generator=chance))


def FakeData(
    size: int = 1000, image_size: tuple[int, ...] = (3, 224, 224), num_classes: int = 10, transform: Any = None
) -> Noise:
    """Return some images of a shape."""
    return Noise(min(size, 100), image_size, num_classes)


def CIFAR10(root: str, train: bool = True, transform: Any = None, download: bool = False) -> Noise:
    """Return some images in colour."""
    return Noise(256, (3, 32, 32), 10)


def MNIST(root: str = ".", train: bool = True, transform: Any = None, download: bool = False) -> Noise:
    """Return some images in grey."""
    return Noise(640 if train else 64, (1, 28, 28), 10)
