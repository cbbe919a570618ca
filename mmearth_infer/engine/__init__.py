"""Compiled models on devices."""
