"""The CUDA engine: attention in Triton kernels."""
