"""The network of MP-MAE."""
