"""Convolutions of signals and volumes, as convolutions of images.

All that is fast for images (blocked layout, spaces, Winograd) then serves them, too. A signal
(N, C, W) is an image of one row, (N, C, 1, W). A volume (N, C, D, H, W) is the images of its
frames, (N*D, C, H, W), and a window that is several frames deep reads these side by side, as one
frame of more channels. Values keep that form through whatever works element by element, and get
their own back where another operator reads them.
"""
