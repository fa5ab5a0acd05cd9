"""The screens: one per top-level view. They arrange what `draw` draws, and take keys."""
