"""Reasons of rejection and failure, each as a sentence, and what to do about it."""

from __future__ import annotations

from deepfakemnist.tables.reasons import PASSING

_SETTINGS = "An intended filter; its limit is in the detail."
_CONVERT = "Convert the file; the detail says how."
_REPLACE = "Replace the file by an undamaged copy."
_TRANSFER = "Nothing, if few; the pair of source and driver does not suit the animator."
_REPAIR = "`deepfakemnist repair` has it made again."
_SHEET = "Correct the sheet or the file name."

#: Reason → what happened, and what to do about a final one; what passing ones need is in PASSING.
_TEXTS = {
    "answer_unreadable": ("The vendor's answer was not understood.", "Report it with the detail."),
    "bad_annotation": ("The file of annotated boxes is malformed.", "Download it again."),
    "bad_credentials": ("The content credentials (C2PA) of the file cannot be read.", _REPLACE),
    "bad_name": ("The file name does not give what the naming scheme needs.", _SHEET),
    "bad_request": ("The request to the vendor could not be sent.", ""),
    "bad_sheet_row": ("The line of the sheet is invalid.", _SHEET),
    "bit_depth": ("The video has a bit depth that is not supported.", _CONVERT),
    "blurred": ("The face is blurred.", _SETTINGS),
    "box_guessed": ("The face was not detected in too many frames, so that its position is a guess.", _SETTINGS),
    "broken_link": ("The link leads to no file.", "Mend or remove the link."),
    "changed": ("The file is not the one in its manifest.", ""),
    "corrupt": ("Part of the video cannot be decoded.", _REPLACE),
    "cut_mid_group": ("The video was cut without re-encoding, and its first frames cannot be decoded.", _CONVERT),
    "driver_gone": ("The driver no longer has a crop.", ""),
    "duplicate_id": ("Another video has the same id.", _SHEET),
    "duplicate_pair": ("The same pair was rendered twice; the first clip is used.", "Nothing."),
    "empty_file": ("The file has no content.", _REPLACE),
    "encode_differs": ("The encoded video does not decode to what was encoded.", ""),
    "encode_failed": ("The encoder failed.", ""),
    "error": ("An unexpected error.", ""),
    "excluded": ("On the exclusion list.", "Nothing."),
    "face_cut_off": ("The source frame does not show the whole face.", "Crop with more margin."),
    "face_lost": ("The face was found in too few frames.", _SETTINGS),
    "face_too_small": ("The face is too small.", _SETTINGS),
    "face_unseen": ("The driver turns to a side of the face that the source does not show.", _TRANSFER),
    "flat_keypoints": ("The animator's key points span no area.", _TRANSFER),
    "frame_size": ("The animator does not support the size of the crop.", "Set crop.size to a supported one."),
    "hdr": ("The video is HDR.", _CONVERT),
    "in_doubt": ("The run ended during a paid request, and whether it was answered is not known.",
                 "Look up the request at the vendor; the detail says how to go on."),
    "input_changed": ("A file that an earlier stage wrote has changed.", _REPAIR),
    "interlaced": ("The video is interlaced.", _CONVERT),
    "length_differs": ("The clips that belong together have different numbers of frames.", "Render or encode again."),
    "liveness": ("A liveness provider classified the fake as not live.", "Nothing: it is the paper's filter."),
    "liveness_unanswered": ("A liveness provider gave no verdict.", "See the reason of the provider; then retry."),
    "mark_differs": ("Marking the file as synthetic altered its pictures.", ""),
    "missing_file": ("The file does not exist.", ""),
    "motion_changed": ("The file with the driver's motion has changed.", _REPAIR),
    "motion_mismatch": ("The motion was extracted by another animator or other settings.", "Make the motions again."),
    "motion_unreadable": ("The file with the driver's motion cannot be read.", _REPAIR),
    "motion_without_pose": ("The best start frame is not known, because the motion has no poses.",
                            "Set start_frame to a number."),
    "no_answer": ("The vendor did not answer.", ""),
    "no_best_frame": ("The source has no frame that suits best.", "Set animator.source_frame to a number."),
    "no_box": ("The crop policy needs annotated boxes, and the video has none.", "Choose another crop.policy."),
    "no_driver": ("No driver of the action was left.", "Add drivers of the action."),
    "no_face": ("No face was found.", "Nothing, if there is none; else lower the detector's threshold."),
    "no_fake_kept": ("No fake of this source is in the dataset, and plan.reals is of_fakes.", "Nothing."),
    "no_fitting_code": ("No session code of the vendor fits the clip.", "Raise max_draws, then `deepfakemnist retry`."),
    "no_frames": ("The clip has no frame.", _REPLACE),
    "no_threshold": ("The vendor's answer lacks the configured threshold.", "Choose one that the detail names."),
    "no_video_stream": ("The file contains no video.", "Remove the file."),
    "not_a_video": ("The file is not a video, or of an unknown format.", "Convert or remove the file."),
    "not_asked": ("A cheaper provider had rejected the clip, so it was not sent.", "Nothing."),
    "not_finite": ("The animator's network returned no numbers.", "Try precision float32."),
    "not_planned": ("The run plans no such pair.", "Nothing."),
    "not_rendered": ("The clip that was to be rendered elsewhere is not there.", "Render it, and add it to the table."),
    "not_square": ("The clip is not square.", "Let the run crop it, or render square clips."),
    "odd_size": ("The clip has an odd width or height, which the pixel format cannot hold.", "Render even sizes."),
    "off_frame": ("Too much of the crop would lie outside the picture.", _SETTINGS),
    "other_rate": ("The frame rate differs from crop.fps.", _CONVERT),
    "outside_the_tree": ("The manifest names a file outside its folder.", "Correct the manifest."),
    "outside_the_video": ("The segment ends after the video.", _SHEET),
    "over_limit": ("Decoding would exceed a limit on size, length or memory.", "Raise the limit named in the detail."),
    "over_quota": ("Accepted, but the quota was full.", "Nothing."),
    "quality": ("The fake does not meet a limit of the quality gate.", _SETTINGS),
    "quality_unmeasured": ("A quality that the gate limits could not be measured.", "Nothing, if few."),
    "rotation": ("The video is rotated by an angle that is not a multiple of 90°.", _CONVERT),
    "same_file": ("Another name of a file that is already used.", "Nothing."),
    "sample_aspect": ("The pixels have an implausible aspect ratio.", _CONVERT),
    "session_spent": ("The vendor consumed several sessions without a verdict.", ""),
    "several_faces": ("Another face is visible in too many frames.", _SETTINGS),
    "sideways": ("The face lies on its side.", "Rotate the video; the detail says how."),
    "size_changes": ("The frame size changes within the video.", _CONVERT),
    "source_changed": ("The source file was replaced during the run.", ""),
    "source_frame_missing": ("The clip is shorter than animator.source_frame.", "Set a smaller number, or best."),
    "source_unusable": ("No crop of the source was obtained, so its planned fakes could not be made.",
                        "See why the source was left out."),
    "still_face": ("The face does not move, as in a photograph.", _SETTINGS),
    "time_stamps": ("The time stamps of the frames are contradictory.", _CONVERT),
    "too_bright": ("The face is overexposed.", _SETTINGS),
    "too_dark": ("The face is too dark.", _SETTINGS),
    "too_short": ("The clip is too short.", _SETTINGS),
    "transparent": ("The video has transparent pixels.", _CONVERT),
    "truncated": ("The file ends early.", _REPLACE),
    "turns_too_far": ("The head turns too far.", _SETTINGS),
    "uncertain_face": ("The face detector was not certain.", _SETTINGS),
    "undecodable_name": ("The file name is not UTF-8.", "Rename the file."),
    "unknown_action": ("The provider does not know the action.", "Use it for the actions that the detail names."),
    "unknown_animator": ("The table names an animator that the config does not have.", "Correct the table."),
    "unknown_codec": ("No decoder for the video is installed.", ""),
    "unreadable": ("The file may not be read.", ""),
    "unreadable_folder": ("The folder may not be read.", "Correct its permissions."),
    "upload_too_large": ("The clip exceeds the vendor's size limit.", "Lower upload.max_bytes, or shorten the clips."),
    "upside_down": ("The face is upside down.", "Rotate the video; the detail says how."),
    "vendor_error": ("The vendor reported an error.", ""),
}  # fmt: skip
_UNKNOWN = "A reason of an animator or provider of one's own; see the detail."


def what_happened(reason: str) -> str:
    """Return a sentence on a reason; of one that no list has, that it is another's."""
    return _TEXTS.get(reason, (_UNKNOWN, ""))[0]


def what_to_do(reason: str) -> str:
    """Return what to do about items with this reason; where another try may succeed, what to look at before."""
    advice = _TEXTS.get(reason, ("", "See the detail."))[1]
    if advice or reason not in PASSING:
        return advice
    return f"Look at {PASSING[reason].partition(';')[0]}, then `deepfakemnist retry`."


def known_reasons() -> frozenset[str]:
    """Return the reasons with a sentence of their own."""
    return frozenset(_TEXTS)
