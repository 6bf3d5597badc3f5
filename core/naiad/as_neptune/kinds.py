"""The kinds of containers, by Neptune's names."""

from __future__ import annotations

from enum import Enum

__all__ = ["ContainerType"]


class ContainerType(str, Enum):
    """The kind of a container; a member equals its plain name."""

    RUN = "run"
    PROJECT = "project"
    MODEL = "model"
    MODEL_VERSION = "model_version"

    def __str__(self) -> str:
        return self.value
