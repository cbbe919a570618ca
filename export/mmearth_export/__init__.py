"""Turns checkpoints into compiled models, verified against eager PyTorch."""
