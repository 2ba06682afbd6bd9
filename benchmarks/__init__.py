"""Measurements, side by side in one run; run by hand with `make bench`."""
