"""Three ways to the same numbers: portable torch, compiled for the CPU, and Triton for CUDA."""
