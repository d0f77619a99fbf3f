"""Where sessions are kept: SQLite by default, PostgreSQL by URL.

Nothing is imported here, as SQLAlchemy costs a worker 150 ms that one without sessions need not pay.
"""
