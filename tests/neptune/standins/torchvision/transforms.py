"""Transforms that change nothing."""

from __future__ import annotations

from typing import Any


class Transform:
    """A transform with its arguments."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.arguments = arguments

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.arguments}"

    def __call__(self, image: Any) -> Any:
        return image


Compose, Normalize, RandomHorizontalFlip, ToTensor = (
    type(name, (Transform,), {}) for name in ("Compose", "Normalize", "RandomHorizontalFlip", "ToTensor")
)
