"""Texts as data: tables -> training batches, dev sets and their scores; docstrings as pairs; words of a text."""
