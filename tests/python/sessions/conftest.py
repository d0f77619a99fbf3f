from storekit.fixtures import postgres_server, store, store_url
from storekit.workers import client, workers

__all__ = ["client", "postgres_server", "store", "store_url", "workers"]
