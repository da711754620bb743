"""``ngat segment``: nuclei in a user's own pictures, of any kind, size and number."""
