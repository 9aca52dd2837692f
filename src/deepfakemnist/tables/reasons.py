"""Reasons of rows: which of them pass, so that the same video may succeed when it is tried again, and which are final.

A passing reason lies in the machine, the network, a vendor or a file that can be restored. A final one lies in the
video, the sheet or the settings: an edit of these makes the job run again by itself. Reasons of one's own animators and
providers are in neither list and count as passing.
"""

from __future__ import annotations

#: Reason → what has to change before it is worth trying again.
PASSING = {
    "bad_request": "base_url or the proxy of the provider",
    "changed": "the file of the imported tree, which is not the one in its manifest",
    "driver_gone": "the crop of the driver, which is made again",
    "encode_differs": "memory or disk, which altered bits, or the encoder",
    "encode_failed": "the encoder, or what it lacked",
    "error": "what the log says; the reason of every unexpected exception",
    "input_changed": "the damaged file, by `deepfakemnist repair`",
    "mark_differs": "memory or disk, which altered bits, or the encoder",
    "missing_file": "the file, which has to be there, or its disk mounted",
    "motion_changed": "the motion, by `deepfakemnist repair`",
    "motion_unreadable": "the motion, by `deepfakemnist repair`",
    "no_answer": "the network, or the vendor's service",
    "no_fitting_code": "chance, or max_draws",
    "session_spent": "the vendor's service",
    "source_changed": "the source, which was replaced during the run",
    "unknown_codec": "PyAV, for a build that has a decoder for it",
    "unreadable": "the permissions of the file, or its disk",
    "vendor_error": "the vendor's service, or the contract; the detail has the vendor's own text",
}

#: Reasons that stay while video, sheet and settings stay.
FINAL = frozenset(
    {
        "answer_unreadable",
        "bad_annotation",
        "bad_credentials",
        "bad_name",
        "bit_depth",
        "blurred",
        "box_guessed",
        "corrupt",
        "cut_mid_group",
        "duplicate_id",
        "duplicate_pair",
        "empty_file",
        "excluded",
        "face_cut_off",
        "face_lost",
        "face_too_small",
        "face_unseen",
        "flat_keypoints",
        "frame_size",
        "hdr",
        "in_doubt",
        "interlaced",
        "length_differs",
        "motion_mismatch",
        "motion_without_pose",
        "no_best_frame",
        "no_box",
        "no_driver",
        "no_face",
        "no_fake_kept",
        "no_frames",
        "no_threshold",
        "no_video_stream",
        "not_a_video",
        "not_asked",
        "not_finite",
        "not_planned",
        "not_rendered",
        "not_square",
        "odd_size",
        "off_frame",
        "other_rate",
        "outside_the_tree",
        "outside_the_video",
        "over_limit",
        "over_quota",
        "rotation",
        "sample_aspect",
        "several_faces",
        "sideways",
        "size_changes",
        "source_frame_missing",
        "source_unusable",
        "still_face",
        "time_stamps",
        "too_bright",
        "too_dark",
        "too_short",
        "transparent",
        "truncated",
        "turns_too_far",
        "uncertain_face",
        "unknown_action",
        "unknown_animator",
        "upload_too_large",
        "upside_down",
    }
)


def is_passing(reason: str) -> bool:
    """Return whether a video that failed for this reason may succeed when it is tried again."""
    return reason not in FINAL
