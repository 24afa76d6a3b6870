"""Trails and doubts: written in one place, read in another, kept on disk where the database cannot take them."""
