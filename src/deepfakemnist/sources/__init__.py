"""Source adapters for video collections: one module per kind, all returning the same rows.

An adapter reads names, sheets and annotations but never a video, so that a dry run is accurate. It returns a
:class:`deepfakemnist.sources.sheets.Sheet`: rows for the ingest stage and refused rows for the ledger. Besides the
columns of a sheet, a row may carry

* ``adapter``: the module's name, ``sheet``, ``folder``, ``vox-metadata`` or ``voxceleb1``;
* ``cropped``: the clip is already a face crop and is not cropped again;
* ``boxes``: face boxes (time in seconds, left, top, width, height) in pixels of a picture of ``reference_width`` ×
  ``reference_height``, either of which may be None;
* ``annotation``: a file from which the ingest stage reads start, end and boxes.
"""
