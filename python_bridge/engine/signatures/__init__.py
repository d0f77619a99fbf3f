"""Signatures: our own strict grammar and type table; DSPy's text parser, which imports names, is never used."""
