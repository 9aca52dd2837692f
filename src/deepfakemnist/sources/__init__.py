"""Where real videos come from: one small module per kind of collection, all giving the same rows.

Every adapter reads names, sheets and annotations, never a video, so a dry run tells the truth. What it gives is a
:class:`deepfakemnist.sheets.Sheet`: rows for the ingest stage, and refused rows for the ledger. Beside the columns of
a sheet a row may carry

* ``adapter``: the module's name, ``sheet``, ``folder``, ``vox-metadata`` or ``voxceleb1``;
* ``cropped``: the clip is a face crop already and is taken as it is;
* ``boxes``: face boxes (time in seconds, left, top, width, height) in pixels of a picture of ``reference_width`` ×
  ``reference_height``, either of which may be None;
* ``annotation``: a file that the ingest stage reads for start, end and boxes.
"""
