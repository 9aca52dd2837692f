"""Start of a video stream that was cut without re-encoding: the pictures there that no player shows.

Such a cut may leave pictures that depend on removed ones: those before the first keyframe, and the leading pictures,
which are stored behind the first keyframe and shown before it (open groups of pictures). Decoders skip them or call
them damaged, and the rest of the stream is good. In MP4, an edit list hides whatever lies before the cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from pathlib import Path

import av

from deepfakemnist.errors import Failed, Rejected

#: Pictures that a decoder may hold back before it shows the first; the limit of H.264 and HEVC.
_MAX_DELAY = 16
#: Packets among which the first keyframe must be: 20 s at 30 frames per second, twice x264's longest group.
_MAX_WAIT = 600
_REPAIR = "write it again first: ffmpeg -i IN -c:v libx264 -crf 12 OUT.mp4"
_CUT_AGAIN = "cut the original again, with encoding: ffmpeg -ss START -i ORIGINAL -c:v libx264 -crf 12 OUT.mp4"


class CutStart:
    """Decodes the packets of one stream and forgives what a cut left at its start.

    Args:
        path: the file, for messages.
        stream: index of the stream.
        presentation_times: whether the container stores when a picture is shown; otherwise leading pictures cannot be
            told from damaged ones.
        headers: whether the codec's headers were found; H.264 and HEVC may repeat them at some keyframes only.

    Attributes:
        before_keyframe: packets left out before the first keyframe.
        leading: packets of leading pictures, which may yield no frame.
    """

    def __init__(self, path: Path, stream: int, presentation_times: bool, headers: bool) -> None:
        self._path = path
        self._stream = stream
        self._presentation_times = presentation_times
        self._headers = headers
        self._keyframe_pts: int | None = None
        self._may_lead = False  # the last keyframe's leading pictures may still follow
        self._has_led = False
        self._hidden_damage = False
        self._owed: set[int] = set()  # times of pictures that gave an error and must still be shown
        self._seen = 0
        self._trailing = 0
        self.before_keyframe = 0
        self.leading = 0

    def from_keyframe(self, packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
        """Yield the packets of all streams, without this stream's before its first keyframe; all if it has none."""
        waiting: list[av.Packet] = []
        count = 0
        for packet in packets:
            waiting.append(packet)
            if packet.stream.index != self._stream or not packet.size:
                continue
            if packet.is_keyframe:
                waiting = [one for one in waiting if one.stream.index != self._stream or one is packet]
                self.before_keyframe = count
                break
            count += not packet.is_discard
            if count > _MAX_WAIT:
                break
        else:
            yield from waiting
            return
        yield from waiting
        yield from packets

    def decode(self, packet: av.Packet) -> list[av.VideoFrame]:
        """Return the frames of a packet of the stream; none when it is damaged and no player would show it.

        Raises: av.FFmpegError for other damage; Rejected with reason cut_mid_group; Failed with reason corrupt when
            damage reaches frames that are shown.
        """
        is_leading = bool(packet.size) and self._is_leading(packet)
        if packet.size and self._hidden_damage and not (packet.is_discard or is_leading):
            raise Failed("corrupt", f"{self._path}: the first frames shown depend on damaged ones that are not shown")
        self._seen += bool(packet.size)
        self._trailing += bool(packet.size) and not is_leading and not packet.is_keyframe
        self.leading += is_leading and not packet.is_discard
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            self._forgive(packet, is_leading, error)
            return []
        if self._owed:
            shown = [frame.pts for frame in frames if frame.pts is not None]
            self._owed.difference_update(shown)
            if self._owed and (not packet.size or max(shown, default=-inf) > min(self._owed)):
                raise Failed("corrupt", f"{self._path}: a frame near its start is damaged")
        return frames

    def _forgive(self, packet: av.Packet, is_leading: bool, error: av.FFmpegError) -> None:
        """Return when the error of a packet is what a cut leaves; raise it otherwise."""
        is_near = 1 < self._seen <= _MAX_DELAY
        if is_leading or (packet.is_discard and self._has_led and self._trailing == 1):
            return
        if packet.is_discard:
            self._hidden_damage = True
        elif is_near and self._has_led and packet.pts is not None:
            # H.264: a picture that marks removed ones as no longer needed is an error, too; it is good if it is shown.
            self._owed.add(packet.pts)
        elif self._seen == 1 and not (self._headers and packet.is_keyframe):
            missing = "keyframe" if self._headers else "header of its codec"
            raise Rejected("cut_mid_group", f"{self._path}: has no {missing} to start from; {_CUT_AGAIN}") from error
        elif is_near and not self._presentation_times:
            raise Rejected(
                "cut_mid_group",
                f"{self._path}: its first pictures depend on missing ones, and its container does not say which are "
                f"shown; {_REPAIR}",
            ) from error
        else:
            raise error

    def _is_leading(self, packet: av.Packet) -> bool:
        """Return whether a packet holds a leading picture of the stream's first keyframe."""
        if packet.is_keyframe:
            self._may_lead = self._seen == 0
            self._keyframe_pts = packet.pts
            self._hidden_damage = False
            return False
        known = self._keyframe_pts is not None and packet.pts is not None
        if known and packet.pts > self._keyframe_pts:  # type: ignore[operator]
            self._may_lead = False
        is_leading = self._may_lead and self._presentation_times
        self._has_led |= is_leading
        return is_leading
