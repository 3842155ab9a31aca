"""Evaluation: the shipped encoder and decoder, measured on clips.

    clips -> Encoder -> payload -> Decoder -> pictures -> metrics -> JSON -> tables, strips, curves

Nothing is measured that is not shipped: the pictures are what a receiver makes of the payloads that a sender sends.
See docs/evaluation.md for the protocol.
"""
