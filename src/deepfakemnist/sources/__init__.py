"""Source adapters, one module per kind of video collection, all returning the same rows.

An adapter reads names, sheets and annotations, never a video, so that a dry run is accurate. It returns a
:class:`deepfakemnist.sources.sheets.Sheet`: rows for the ingest stage and refused rows for the ledger. Besides the
columns of a sheet, a row may carry

* ``adapter``: the module's name, ``sheet``, ``folder``, ``vox-metadata`` or ``voxceleb1``;
* ``cropped``: the clip is a face crop already and is taken as it is;
* ``boxes``: face boxes (time in seconds, left, top, width, height) in pixels of a picture of ``reference_width`` ×
  ``reference_height``, either of which may be None;
* ``annotation``: a file that the ingest stage reads for start, end and boxes.
"""
