from storekit.fixtures import postgres_server, store, store_url

__all__ = ["postgres_server", "store", "store_url"]
