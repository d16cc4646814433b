"""One writer per annotation format: `write(data, losses)` says where images go and what files hold, and does nothing.

What a format cannot hold is counted in `Losses`; `save` puts the files on disk.
"""
