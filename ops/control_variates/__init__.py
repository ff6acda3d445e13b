"""Control variates (arXiv 2502.10563): estimators, intervals and planning on plain arrays."""
