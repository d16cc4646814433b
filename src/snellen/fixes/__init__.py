"""Applies the fixes that rules propose: minimal edits of annotation files, in a copy, as a patch, or with a journal.

Images are never changed.
"""
