"""The file formats that records come in."""
