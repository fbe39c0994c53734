"""Arrays in, numbers out: ranking, text, calibration, off-policy value, intervals. No torch."""
