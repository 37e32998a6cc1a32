"""The containers of films that are opened, by their content."""

FORMATS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "asf", "flv", "ogg", "mxf", "rm"),
    *("h264", "hevc", "m4v", "ivf", "obu", "nut", "dv", "wtv", "gxf", "yuv4mpegpipe"),
)
"""FFmpeg's names of containers. Others are lists of further files, or no films."""
