"""Tracking of runs and the registry of cells; the only package that knows MLflow."""
