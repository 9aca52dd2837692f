"""Reading, checking, encoding and storing video. Knows no faces and no Snakemake.

One decoder (:mod:`.decode`, PyAV), one hash (:mod:`.pixels`). Lossless working clips are encoded in the process
(:mod:`.encode`, PyAV), everything that loses by the ffmpeg program (:mod:`.ffmpeg`).
"""
