"""The only layer that imports dspy, and only in its submodules: importing this package is cheap.

`python_bridge.engine.load.load_engine(settings)` imports dspy and returns an `Engine`.
"""
