"""The service that Snakepit speaks with its workers. Importing this package imports neither gRPC nor dspy."""
