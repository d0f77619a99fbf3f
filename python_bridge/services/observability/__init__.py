"""What a worker tells of itself: logs, traces, telemetry, dumps and profiles."""
