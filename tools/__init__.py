"""What the project's makers run: the demo, its media, generated code."""
