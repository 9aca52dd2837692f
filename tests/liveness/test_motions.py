from pathlib import Path

import pytest

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.errors import ConfigError
from deepfakemnist.liveness.motions import read_motions

SHEET = Path(__file__).parents[2] / "config/actions.tsv"


def test_the_motion_sheet_of_the_workflow():
    baidu = read_motions(SHEET, "baidu")
    assert list(baidu) == list(ACTIONS)
    assert {action: motion for action, motion in baidu.items() if motion} == {
        "blink": "0", "yaw": "7", "nod": "5", "up": "4",
    }  # fmt: skip
    tianyan = read_motions(SHEET, "tianyan")
    assert (tianyan["surprise"], tianyan["up"], tianyan["smile"]) == ("MOUTH", "", "")
    assert read_motions(SHEET, "local-action") == {}


@pytest.mark.parametrize(
    ("line", "new", "message"),
    [
        ("blink\t0\tBLINK", "blink\t1\tBLINK", r"line 2: baidu '1' is not allowed; allowed are 0 blink, 4 look up"),
        ("yaw\t7", "yawn\t7", r"line 4: action 'yawn' is not one of blink, mouth"),
        ("yaw\t7", "mouth\t7", r"line 4: action 'mouth' is listed twice"),
        ("yaw\t7\tYAW\tYAW\n", "", "missing actions: yaw"),
        ("action\tbaidu", "action\tbaidoo", r"needs columns action and baidu, found \['action', 'baidoo'"),
    ],
)
def test_an_invalid_sheet_is_reported_with_its_line(tmp_path, line, new, message):
    text = SHEET.read_text()
    assert line in text
    (tmp_path / "actions.tsv").write_text(text.replace(line, new))
    with pytest.raises(ConfigError, match=message):
        read_motions(tmp_path / "actions.tsv", "baidu")


def test_a_missing_sheet_is_named(tmp_path):
    with pytest.raises(ConfigError, match="liveness.motions: cannot read .*gone.tsv"):
        read_motions(tmp_path / "gone.tsv", "baidu")
