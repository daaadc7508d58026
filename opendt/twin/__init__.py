"""The twin: one window at a time through engine, power, calibration and lake."""
