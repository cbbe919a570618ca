"""Makes MP-MAE encoders: the network, its checkpoints, its training."""
