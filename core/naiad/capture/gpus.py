"""NVIDIA's cards: how busy they are, how much of their memory is in use, how much power they draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from naiad.forks import holding_forks

GPU_UNITS = {"gpu": "%", "gpu_memory": "GB", "gpu_power": "W"}
GB = 2**30


class Gpus:
    """All cards that the driver shows to this process; none where there is no driver, or no nvidia-ml-py."""

    def __init__(self) -> None:
        self._cards: list[Any] = []
        try:
            with holding_forks():  # a child forked meanwhile could never import it
                import pynvml
        except ImportError:
            return
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._cards = [pynvml.nvmlDeviceGetHandleByIndex(place) for place in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError:
            return

    def read(self) -> dict[str, float]:
        """Return the figures of each card: `gpu` and so on, or with several cards `gpu_0`, `gpu_1`."""
        found = {}
        for place, card in enumerate(self._cards):
            suffix = f"_{place}" if len(self._cards) > 1 else ""
            for name, ask in self._questions().items():
                try:
                    found[name + suffix] = ask(card)
                except self._nvml.NVMLError:
                    continue  # this card cannot say it, or not now
        return found

    def _questions(self) -> dict[str, Callable[[Any], float]]:
        nvml = self._nvml
        return {
            "gpu": lambda card: float(nvml.nvmlDeviceGetUtilizationRates(card).gpu),
            "gpu_memory": lambda card: float(nvml.nvmlDeviceGetMemoryInfo(card).used) / GB,
            "gpu_power": lambda card: float(nvml.nvmlDeviceGetPowerUsage(card)) / 1000,
        }
