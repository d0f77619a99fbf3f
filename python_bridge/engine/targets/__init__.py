"""Programs as the executor sees them: module instances and program JSON alike."""
