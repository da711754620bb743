"""Files of any common kind: pictures by region, with axes by name; label images; outlines.

:func:`ngat.io.picture.open_picture` reads a picture, :func:`ngat.io.labels.read_label_image` a
label image. Both give an answer or one sentence (:class:`ngat.errors.InputError`) that names the
file and the option that would help.
"""
