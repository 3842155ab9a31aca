"""The metrics of the evaluation, one a module; none knows of clips, codecs or files of results.

received picture, its source -> a figure:  pixels, ssim, lpips, dists, landmarks, identity, body
received pictures in order   -> a figure:  pixels.temporal_error, pixels.flicker, vmaf
two sets of pictures         -> a figure:  fid
"""
