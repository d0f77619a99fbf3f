"""One worker process: puts its parts together, and lives and ends as its parent wants it."""
