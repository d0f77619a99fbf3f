"""What differs between the versions of DSPy, found by presence: `features` names it, the rest evens it out."""
