"""Win rates and accuracies from few human labels and many synthetic judgements (arXiv 2502.10563)."""
