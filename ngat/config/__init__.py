"""Configuration: frozen values, one preset per row of a table.

A configuration is saved with every run and inside every weights file, so a result can always say
how it was made.
"""

from ngat.config.parameters import LossConfig, ModelConfig, Preset, RivalConfig, TrainConfig
from ngat.config.presets import PRESETS, from_dict, preset, to_dict

__all__ = [
    "PRESETS",
    "LossConfig",
    "ModelConfig",
    "Preset",
    "RivalConfig",
    "TrainConfig",
    "from_dict",
    "preset",
    "to_dict",
]
