"""Heads on frozen representations: convex problems that are solved, networks that are trained."""
