"""Endings of files that are taken for videos or pictures where a folder is searched; all in lower case.

What can be written is another matter: `video_writer.SUFFIXES`, `images.write_image`.
"""

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
