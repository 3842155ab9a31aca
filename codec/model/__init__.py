"""The networks, and nothing but networks: no files but weights, no camera, no bytes of the stream."""
