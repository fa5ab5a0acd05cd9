"""The data path of the primary, one file per step: intake, sequence, replicate, acks, gate, feed.

`core` joins the steps without I/O; `shell` gives it sockets, files and time.
"""
