"""Files of any common kind: pictures by region, with axes by name; label images; outlines.

:func:`open_picture` reads a picture, :func:`read_label_image` a label image. Both give an answer or
one sentence (:class:`ngat.errors.InputError`) that names the file and the option that would help.
"""

from ngat.io.labels import LABEL_SUFFIXES, read_label_image
from ngat.io.picture import (
    PICTURE_SUFFIXES,
    Picture,
    array_picture,
    is_picture,
    open_picture,
    open_pictures,
)

__all__ = [
    "LABEL_SUFFIXES",
    "PICTURE_SUFFIXES",
    "Picture",
    "array_picture",
    "is_picture",
    "open_picture",
    "open_pictures",
    "read_label_image",
]
