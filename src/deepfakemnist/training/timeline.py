"""Timeline of a video's scores, as a PNG: P(fake) of every scored frame, a line per face track."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from deepfakemnist.tables.files import atomic_path
from deepfakemnist.training.score_video import FaceTrack, VideoScore

#: Tracks with a line of their own in a legend; a long video has hundreds.
_IN_LEGEND = 10
#: Okabe and Ito's colours, which colour-blind readers tell apart. https://jfly.uni-koeln.de/color/
_COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A400"]
#: Size of the drawing without axes and legend, pixels, before scaling.
_WIDTH, _HEIGHT, _SCALE = 700, 250, 1.5
_CONFIG = {
    "background": "white",
    "view": {"stroke": "#888888"},
    "axis": {"grid": False, "titleFontWeight": "normal"},
    "range": {"category": _COLOURS},
    "legend": {"title": None, "labelLimit": 300, "symbolType": "stroke", "symbolStrokeWidth": 3, "symbolOpacity": 1},
    "title": {"anchor": "start"},
}


def write_timeline(scored: VideoScore, path: Path, title: str = "") -> None:
    """Write a PNG: P(fake) of every scored frame over time, a line per face track, with the threshold and the cuts.

    The thick line of a track is its score. Parts in which nothing could be judged are grey.
    """
    threshold = scored.decision.threshold
    time = alt.X("time:Q", title="time (s)", scale=alt.Scale(domain=[0, max(scored.length_s, 0.1)], nice=False))
    score = alt.Y("score:Q", title="P(fake), calibrated", scale=alt.Scale(domain=[0, 1]))
    tracks = _rows(scored)
    legend = alt.Legend() if 0 < len(scored.tracks) <= _IN_LEGEND else None
    colour = alt.Color("face:N", sort=None, legend=legend)
    means = [
        {"face": _name(track), "time": track.frames[0].time_s, "to": track.frames[-1].time_s, "score": track.score}
        for track in scored.tracks
    ]
    label = {"time": max(scored.length_s, 0.1), "score": threshold, "text": f"threshold {threshold:.2f} "}
    drawing = alt.layer(
        _chart([{"time": face.from_s, "to": face.to_s} for face in scored.skipped]).mark_rect(color="#E0E0E0")
        .encode(x=time, x2="to:Q"),
        _chart([{"time": cut} for cut in scored.cuts_s]).mark_rule(color="#888888", strokeDash=[1, 3]).encode(x=time),
        _chart([label]).mark_rule(color="black", strokeDash=[6, 4]).encode(y=score),
        _chart([label]).mark_text(align="right", baseline="bottom").encode(x=time, y=score, text="text:N"),
        _chart(means).mark_rule(strokeWidth=5, opacity=0.35).encode(x=time, x2="to:Q", y=score, color=colour),
        _chart(tracks).mark_line(strokeWidth=1.5).encode(x=time, y=score, color=colour, detail="part:N"),
        _chart(tracks).mark_point(filled=True, size=16, opacity=1).encode(x=time, y=score, color=colour),
        title=f"{title}: {scored.verdict}" if title else scored.verdict,
        width=_WIDTH, height=_HEIGHT,
    )  # fmt: skip
    picture = vl_convert.vegalite_to_png({**drawing.to_dict(), "config": _CONFIG}, scale=_SCALE)
    with atomic_path(path) as part:
        part.write_bytes(picture)


def _rows(scored: VideoScore) -> list[dict[str, Any]]:
    """Return the scored frames of all tracks; where a face is away, the next part begins, and no line is drawn."""
    rows = []
    for track in scored.tracks:
        part, until = 0, track.segments[0].from_s
        for segment in track.segments:
            part += segment.from_s > until + 1e-6
            rows += [
                {"face": _name(track), "part": f"{track.number}.{part}", "time": frame.time_s, "score": frame.score}
                for frame in segment.frames
            ]
            until = segment.to_s
    return rows


def _name(track: FaceTrack) -> str:
    return f"face {track.number}: {track.score:.2f}, {track.verdict}"


def _chart(rows: list[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.Data(values=rows))
