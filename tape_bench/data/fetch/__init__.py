"""Data sets from the places that offer them to this disk."""
