"""Linear-chain CRF: exact inference (`LinearChain`), its kernels, and the heads that hold the parameters."""
