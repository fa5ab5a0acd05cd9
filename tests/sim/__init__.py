"""The simulator: a whole pair with its world in one process, from one seed."""
