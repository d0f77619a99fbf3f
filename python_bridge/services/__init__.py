"""What a worker does for its clients, whatever transport they come by: one dispatcher, one table of operations."""
