"""The CPU engine: attention, linear maps and projection in compiled kernels."""
