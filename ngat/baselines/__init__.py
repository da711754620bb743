"""What NGAT is compared with: thresholding, a classical pipeline, U-Net and FPN."""
