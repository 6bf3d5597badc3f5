"""Stands in for TensorFlow, of which the programs use Keras alone."""

import keras

__all__ = ["keras"]
__version__ = keras.__version__
