"""The REST API (extra ``http``): a thin translation between HTTP and the executor."""
