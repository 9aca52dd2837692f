"""Video decoding, validation, encoding and storage; independent of faces and of Snakemake.

One decoder (:mod:`.decode`, PyAV) and one pixel hash (:mod:`.pixels`). Lossless working clips are encoded in process
(:mod:`.encode`, PyAV); every lossy encode runs the ffmpeg program (:mod:`.ffmpeg`).
"""
