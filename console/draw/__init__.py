"""How each part of the picture is drawn: view state in, lines of toned text out. Pure."""
