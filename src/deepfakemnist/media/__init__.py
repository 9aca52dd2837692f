"""Reading, checking, encoding and storing video. Knows no faces and no Snakemake.

One decoder (:mod:`.decode`, PyAV), one encoder call (:mod:`.ffmpeg`, the ffmpeg program), one hash (:mod:`.pixels`).
"""
