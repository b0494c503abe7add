"""The CRF kernels: torch for any device, numba for the CPU, Triton for CUDA. All compute the same."""
