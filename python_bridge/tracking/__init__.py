"""Tracking of executions: a journal on disk, drained in batches into MLflow. Never in the way of a call."""
