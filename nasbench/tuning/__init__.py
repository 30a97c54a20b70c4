"""Search for the smallest proxy whose found cell stays within a margin of the whole set's, with Optuna."""
