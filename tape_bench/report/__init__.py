"""Leaderboards, comparisons and the gate: records set beside baselines."""
