"""The standby: receive and acknowledge, and (as a table of guards) promotion.

`core` decides without I/O; `shell` gives it sockets, files and time.
"""
