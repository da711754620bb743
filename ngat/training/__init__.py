"""Training: presets in, weights out; and the series of runs made of it."""
