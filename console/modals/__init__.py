"""The dialogs: what an operator types before something is done, and the help."""
