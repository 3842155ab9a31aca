"""What a call's pictures cost on the wire, and what is left of them when packets are lost."""
