"""What NGAT is compared with: thresholding, a classical pipeline, U-Net, FPN and Mask R-CNN."""
