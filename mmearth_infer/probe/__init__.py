"""Probes: classes told apart in finished stores."""
