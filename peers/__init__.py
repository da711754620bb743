"""StarDist and Cellpose on the pictures that ``ngat peers export`` wrote; see README.md."""
