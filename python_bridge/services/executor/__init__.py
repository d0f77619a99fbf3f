"""The pipeline executor: deadline → validate → cache → retry(breaker → engine) → record, one step a file."""
