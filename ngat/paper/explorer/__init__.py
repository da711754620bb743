"""The attention explorer: nodes of one picture, as a page, a widget and a figure."""
