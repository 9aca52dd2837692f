import cv2
import numpy as np
import pytest

from deepfakemnist.animate.mesh.head import HeadProxy
from deepfakemnist.animate.mesh.layers import take_apart
from deepfakemnist.animate.mesh.lids import Lids
from deepfakemnist.animate.mesh.mouth import DriverMouth, drivers_share, fill, mouth_picture, opening, skin_colour
from deepfakemnist.animate.mesh.rendering import render
from deepfakemnist.animate.mesh.sheet import Sheet, signed_area
from deepfakemnist.animate.mesh.transfer import LIDS, Placed
from deepfakemnist.faces.landmark_sets import INNER_LIPS, LEFT_EYE, RIGHT_EYE
from deepfakemnist.faces.landmarks import head_model
from deepfakemnist.faces.person_mask import PersonMask

MODEL = head_model()


@pytest.fixture(scope="module")
def sheet(picture: np.ndarray, landmarks: np.ndarray) -> Sheet:
    return Sheet(landmarks, picture.shape[:2], MODEL)


def placed(landmarks: np.ndarray, shift: tuple[float, float] = (0, 0)) -> Placed:
    offset = np.array([*shift, 0.0])
    return Placed(landmarks + offset, np.eye(3), offset, (1.0, 1.0))


def test_all_triangles_face_the_camera_but_those_that_the_source_hides(sheet: Sheet) -> None:
    area = signed_area(sheet.vertices, sheet.triangles)
    assert (area[~sheet.unseen] < 0).all()
    assert sheet.unseen.mean() < 0.1
    # No triangle has a vertex twice.
    assert (np.diff(np.sort(sheet.triangles, axis=1), axis=1) > 0).all()


def test_at_rest_a_frame_is_the_source(picture: np.ndarray, landmarks: np.ndarray, sheet: Sheet) -> None:
    layers = take_apart(picture, landmarks, PersonMask(), HeadProxy(landmarks, MODEL))
    drawn = render(sheet, sheet.moved(placed(landmarks)), layers.person, border=layers.border)
    assert (drawn.covered == 1).all(), "the sheet covers the whole picture"
    assert drawn.moved.max() < 0.01
    assert np.abs(drawn.layers[..., :3] - picture).max() <= 1
    assert np.abs(layers.composed(drawn) - picture).max() <= 1


@pytest.mark.parametrize("shift", [(14.0, 0.0), (-10.0, 4.0)])
def test_the_head_moves_and_the_background_stays(
    picture: np.ndarray, landmarks: np.ndarray, sheet: Sheet, shift: tuple[float, float]
) -> None:
    layers = take_apart(picture, landmarks, PersonMask(), HeadProxy(landmarks, MODEL))
    frame = layers.composed(render(sheet, sheet.moved(placed(landmarks, shift)), layers.person, border=layers.border))
    mask = PersonMask()(picture)
    across, down = map(int, shift)
    moved_mask = np.roll(mask, (down, across), axis=(0, 1))
    background = (mask < 0.01) & (moved_mask < 0.01)
    assert background.mean() > 0.05
    assert (np.abs(frame - picture)[background].max(axis=-1) > 4).mean() < 0.02
    nose = landmarks[1, :2].round().astype(int)
    box = np.s_[nose[1] - 12 : nose[1] + 12, nose[0] - 12 : nose[0] + 12]
    there = np.s_[nose[1] - 12 + down : nose[1] + 12 + down, nose[0] - 12 + across : nose[0] + 12 + across]
    assert np.abs(frame[there] - picture[box]).mean() < 3


def test_hair_moves_with_the_head_where_the_mask_finds_nobody(
    picture: np.ndarray, landmarks: np.ndarray, sheet: Sheet
) -> None:
    layers = take_apart(picture, landmarks, lambda rgb: np.zeros(rgb.shape[:2], np.float32), sheet.proxy)
    frame = layers.composed(
        render(sheet, sheet.moved(placed(landmarks, (12.0, 0.0))), layers.person, border=layers.border)
    )
    x, y = (landmarks[10, :2] - [0, 25]).round().astype(int)  # above the forehead
    hair = picture[y - 6 : y + 6, x - 6 : x + 6].astype(float)
    assert np.abs(frame[y - 6 : y + 6, x + 6 : x + 18] - hair).mean() < 3


def test_what_lies_beside_the_face_is_as_deep_as_its_contour(landmarks: np.ndarray) -> None:
    proxy = HeadProxy(landmarks, MODEL)
    cm = np.linalg.norm(landmarks[33] - landmarks[263]) / 9.0
    for contour, outwards in ((454, 1), (234, -1)):  # beside the ears
        beside = landmarks[contour, :2] + [outwards * 0.7 * cm, 0]
        deeper = (proxy.depth(beside[None])[0] - landmarks[contour, 2]) / cm
        # Ears lie behind the contour of the face: nearer ones would be hidden by it when the head turns.
        assert 0 < deeper < 4


@pytest.mark.parametrize("opening", [0.0, 0.4])
def test_a_closing_eye_shows_lid_and_lashes(picture: np.ndarray, landmarks: np.ndarray, opening: float) -> None:
    lids, closing = Lids(picture, landmarks), landmarks.copy()
    for pairs in LIDS:
        for upper, lower in pairs:
            closing[upper] = landmarks[lower] + opening * (landmarks[upper] - landmarks[lower])
    closed = Placed(closing, np.eye(3), np.zeros(3), (opening, opening))
    texture = lids.texture(landmarks, closed)
    gap = landmarks[145, 1] - landmarks[159, 1]
    assert landmarks[159, 1] - texture[159, 1] == pytest.approx(0.2 * (1 - opening) * gap, rel=0.01)
    assert texture[145, 1] - landmarks[145, 1] == pytest.approx(0.12 * (1 - opening) * gap, rel=0.01)
    untouched = np.setdiff1d(np.arange(len(landmarks)), np.array(LIDS).ravel())
    assert np.array_equal(texture[untouched], landmarks[untouched])
    frame = np.full((256, 256, 3), 180, np.float32)
    lids.draw_lashes(frame, closed)
    x, y = closing[159, :2].round().astype(int)
    darkest = frame[y - 1 : y + 2, x].min()
    assert darkest < 120 if opening == 0 else 120 < darkest < 180
    drawn = np.argwhere(frame.min(axis=-1) < 179)[:, ::-1]
    eyes = closing[[*RIGHT_EYE, *LEFT_EYE], :2]
    assert (drawn >= eyes.min(axis=0) - 4).all() and (drawn <= eyes.max(axis=0) + 4).all()


def test_an_open_eye_is_left_alone(picture: np.ndarray, landmarks: np.ndarray) -> None:
    lids, frame = Lids(picture, landmarks), picture.astype(np.float32)
    lids.draw_lashes(frame, placed(landmarks))
    assert np.array_equal(frame, picture)
    assert np.array_equal(lids.texture(landmarks, placed(landmarks)), landmarks)


def test_teeth_that_the_source_shows_are_its_own_until_they_would_be_stretched() -> None:
    assert drivers_share(source=0.2, frame=0.27) == 0
    assert drivers_share(source=0.2, frame=0.5) == 1
    assert 0 < drivers_share(source=0.2, frame=0.36) < 1
    assert drivers_share(source=0.02, frame=0.3) == 1, "a closed mouth shows nothing of its own"
    assert drivers_share(source=0.02, frame=0.03) == 0


@pytest.mark.parametrize("gaze", [(7.0, 0.0), (-7.0, -2.0), (0.0, -6.0)])
def test_an_eye_has_no_hole_wherever_it_looks(picture: np.ndarray, landmarks: np.ndarray, gaze: tuple) -> None:
    looking = landmarks.copy()
    looking[468:, :2] += gaze  # part of each iris is behind the lids
    sheet = Sheet(looking, picture.shape[:2], MODEL)
    back = looking.copy()
    back[468:, :2] -= gaze
    layers = take_apart(picture, looking, PersonMask(), sheet.proxy)
    drawn = render(sheet, sheet.moved(placed(back)), layers.person, border=layers.border)
    inside = np.zeros((256, 256), np.uint8)
    for ring in (RIGHT_EYE, LEFT_EYE):
        cv2.fillPoly(inside, [np.round(looking[list(ring), :2]).astype(np.int32)], 1)
    assert drawn.covered[inside > 0].min() == 1


def test_above_the_picture_a_head_goes_on_as_high_as_it_is(picture: np.ndarray, landmarks: np.ndarray) -> None:
    # Cut off where the forehead ends.
    top = int(landmarks[10, 1]) - 8
    cut = np.ascontiguousarray(picture[top:])
    shifted = landmarks - [0, top, 0]
    layers = take_apart(cut, shifted, PersonMask(), HeadProxy(shifted, MODEL))
    above = layers.person[: layers.border, :, 3]
    # The crown is some 5 cm above, and an eye distance is 9 cm.
    height = np.linalg.norm(landmarks[33] - landmarks[263]) * 5 / 9
    rows = np.flatnonzero(above.max(axis=1))
    assert len(rows) == pytest.approx(height, rel=0.5) and rows[-1] == layers.border - 1
    width = [np.count_nonzero(above[row]) for row in (rows[0], rows[-1])]
    assert width[0] < 0.5 * width[1], "a crown is round"
    inside = np.s_[layers.border : -layers.border]
    assert np.array_equal(layers.person[inside, inside, :3], cut)


def test_an_open_mouth_shows_the_drivers_and_nothing_else_changes(picture: np.ndarray, landmarks: np.ndarray) -> None:
    inside = np.full((256, 256, 3), (90, 20, 30), np.uint8)
    lips = list(INNER_LIPS)
    opened = landmarks.copy()
    opened[lips[:11], 1] += 10  # the lower lip
    assert opening(opened) > opening(landmarks) + 0.1
    driver = DriverMouth(mouth_picture(inside, opened), skin_colour(picture, landmarks), opened)
    frame = picture.astype(np.float32)
    fill(frame, opened, skin_colour(picture, landmarks), driver, 1.0)
    middle = opened[lips, :2].mean(axis=0).round().astype(int)
    assert np.abs(frame[middle[1], middle[0]] - (90, 20, 30)).max() <= 2
    changed = np.argwhere(np.abs(frame - picture).max(axis=-1) > 1)
    low, high = opened[lips, :2].min(axis=0), opened[lips, :2].max(axis=0)
    assert (changed[:, ::-1] >= low - 4).all() and (changed[:, ::-1] <= high + 4).all()
    assert len(changed) > 50


def test_the_drivers_mouth_is_lit_like_the_source(picture: np.ndarray, landmarks: np.ndarray) -> None:
    opened = landmarks.copy()
    opened[list(INNER_LIPS)[:11], 1] += 10
    mouth = mouth_picture(np.full((256, 256, 3), 60, np.uint8), opened)
    skin = skin_colour(picture, landmarks)
    frame = picture.astype(np.float32)
    fill(frame, opened, skin, DriverMouth(mouth, skin * 2 / 3, opened), 1.0)
    middle = opened[list(INNER_LIPS), :2].mean(axis=0).round().astype(int)
    assert frame[middle[1], middle[0]] == pytest.approx([90] * 3, abs=2)
