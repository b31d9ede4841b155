"""Data that comes from, or goes to, other machines."""
