"""Speed and memory, measured as ratios in one run (see docs: machines are noisy)."""
