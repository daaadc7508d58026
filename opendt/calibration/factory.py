"""The calibrator that the settings ask for."""

from __future__ import annotations

from opendt.calibration.banded import BandedCalibrator, split_state
from opendt.calibration.base import Calibrator
from opendt.calibration.bayesian import BayesianCalibrator
from opendt.calibration.grid import GridCalibrator
from opendt.calibration.off import NoCalibrator
from opendt.calibration.online import OnlineCalibrator
from opendt.calibration.space import parse_space
from opendt.models.topology import Topology
from opendt.settings import CalibrationSettings


def make_calibrator(settings: CalibrationSettings, topology: Topology, state: bytes | None = None) -> Calibrator:
    """A calibrator for a topology, fresh or continuing from the bytes of an earlier one.

    Raises:
        ConfigError: the settings cannot work on this topology.
        TerminalError: the state was written under other settings.
    """
    if settings.mode == "off":
        return NoCalibrator(topology)
    if settings.mode == "online":
        return OnlineCalibrator(topology, settings.seed, state)
    inner, band = split_state(state)
    if settings.mode == "grid":
        return BandedCalibrator(_grid(settings, topology, inner), band)
    return BandedCalibrator(_bayesian(settings, topology, inner), band)


def _grid(settings: CalibrationSettings, topology: Topology, state: bytes | None) -> GridCalibrator:
    return GridCalibrator(
        topology,
        settings.parameter,
        settings.grid_min,
        settings.grid_max,
        settings.grid_points,
        settings.history_windows,
        settings.seed,
        state,
    )


def _bayesian(settings: CalibrationSettings, topology: Topology, state: bytes | None) -> BayesianCalibrator:
    return BayesianCalibrator(
        topology,
        parse_space(settings.space) if settings.space else None,
        settings.trials,
        settings.search_every_windows,
        settings.search_history_windows,
        settings.seed,
        state,
    )
