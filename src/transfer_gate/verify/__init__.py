"""Prove promise 2 from the outside: read what went in and what came out, join them, count (contract section 7)."""
