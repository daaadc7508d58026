"""Calibration: power-model parameters from measured power, walk-forward. Start with ``base.py``."""

from opendt.calibration.base import CalibrationOutcome, Calibrator, Prediction, Trial
from opendt.calibration.factory import make_calibrator

__all__ = ["CalibrationOutcome", "Calibrator", "Prediction", "Trial", "make_calibrator"]
