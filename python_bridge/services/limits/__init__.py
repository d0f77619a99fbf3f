"""What a worker may use before it is replaced, and who looks after it."""
