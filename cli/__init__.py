"""The `interlock` command. `main` registers the commands; each module holds one subject."""
