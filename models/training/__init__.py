"""Training, evaluation and calibration of the three classifiers."""
