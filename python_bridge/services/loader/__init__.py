"""Programs from configuration files, allow-listed classes, program JSON and registries."""
