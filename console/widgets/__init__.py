"""The few widgets that the screens share."""
