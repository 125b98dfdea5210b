"""Rows of an evaluation, and the tables that are made of them."""
