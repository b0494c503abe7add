"""The linear-chain CRF: exact functions of scores, and the heads that hold their parameters."""
