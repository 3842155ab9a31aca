"""The sender: camera or file to a call (``python -m sender``)."""
