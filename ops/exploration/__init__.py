"""Outcome-based exploration (2509.06941): reinforcement learning on verifiable answers, with bonuses by answer."""
