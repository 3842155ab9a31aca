"""Stages 3 to 5 of 8: keypoints to bytes, and back.

    Keypoints -> quantise -> predict -> entropy -> message -> pack -> payload of one packet
    Keypoints <- quantise <- predict <- entropy <- message <- pack <- payload of one packet

``stream`` drives them frame by frame, ``picture`` codes reference pictures. The format is told in
docs/wire-format.md.
"""
