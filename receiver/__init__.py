"""The receiver: waits for a call, rebuilds the speaker's picture from keypoints, shows and records it."""
