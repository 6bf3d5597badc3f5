"""Stands in for torchvision: data sets of noise, and transforms that change nothing."""

from torchvision import datasets, transforms

__all__ = ["datasets", "transforms"]
