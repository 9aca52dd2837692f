"""Gallery as its readers use it, in Chromium: clips that play together, filters, keyboard, zoom."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import gallery_run
import pytest
from browser import accessibility, cut_off, opened, wait_until_shown
from playwright.sync_api import Browser, Locator, Page, expect

from deepfakemnist.report.gallery_page import write_gallery_page

pytestmark = pytest.mark.slow

#: Seconds that clips side by side may be apart.
APART = 0.1
TIMES = "group => [...group.querySelectorAll('video')].map(clip => [clip.currentTime, clip.ended, clip.videoWidth])"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    tables = gallery_run.write_run(folder)
    write_gallery_page(tables, folder / "gallery.html", gallery_run.SETTINGS)
    return folder / "gallery.html"


@pytest.fixture
def shown(chromium: Browser, page: Path) -> Iterator[Page]:
    with opened(chromium, page) as found:
        wait_until_shown(found.page)
        yield found.page


def group(page: Page, name: str) -> Locator:
    return page.locator(f"article[aria-label$='{name}']")


def clock(group: Locator) -> float:
    """Return the time of the fake after checking that the clips beside it are at the same."""
    times = group.evaluate(TIMES)
    assert len(times) > 1 and all(width == gallery_run.SIDE for _, _, width in times)
    going = [time for time, has_ended, _ in times if not has_ended]
    assert not going or max(going) - min(going) < APART, times
    return float(times[-1][0])


def test_source_driver_and_fake_play_together_again_and_again_until_paused(shown: Page) -> None:
    one = group(shown, "s1@nod-d1")
    one.get_by_role("button", name="Play nod, s1@nod-d1").click()
    seen = []
    for _ in range(14):  # the clips last 2 s
        shown.wait_for_timeout(170)
        seen.append(clock(one))
    assert len(set(seen)) > 8 and max(seen) > 1.2
    assert any(later < earlier for earlier, later in pairwise(seen)), "they start again"
    one.get_by_role("button", name="Pause nod, s1@nod-d1").click()
    stopped = clock(one)
    shown.wait_for_timeout(200)
    assert clock(one) == stopped


def test_one_group_plays_at_a_time_and_the_keyboard_starts_it(shown: Page) -> None:
    group(shown, "s1@nod-d1").locator(".shot").first.click()
    expect(group(shown, "s1@nod-d1").locator(".play")).to_have_text("❚❚ Pause")
    button = group(shown, "s2@nod-d1").locator(".play")
    button.focus()
    shown.keyboard.press("Enter")
    shown.wait_for_function("group => group.querySelector('[data-lead]').currentTime > 0.2",
                            arg=group(shown, "s2@nod-d1").element_handle())  # fmt: skip
    expect(group(shown, "s1@nod-d1").locator(".play")).to_have_text("▶ Play")
    assert group(shown, "s1@nod-d1").locator("video").evaluate_all("clips => clips.every(clip => clip.paused)")


def test_one_fake_plays_at_every_quality(shown: Page) -> None:
    one = shown.locator("article.qualities")
    one.locator(".play").click()
    shown.wait_for_function("group => group.querySelector('video').currentTime > 0.2", arg=one.element_handle())
    clock(one)


def test_filters_hide_groups_count_the_others_and_say_when_none_is_left(shown: Page) -> None:
    fakes = shown.locator("article[data-verdict]")
    shown.get_by_label("action").select_option(label="nod")
    expect(fakes.locator("visible=true")).to_have_count(2)
    expect(shown.locator(".shown")).to_have_text("2 of 4 fakes")
    shown.get_by_label("verdict").select_option(label="rejected")
    expect(fakes.locator("visible=true")).to_have_count(0)
    expect(shown.get_by_text("Nothing matches these filters.")).to_be_visible()
    shown.get_by_label("action").select_option(label="all")
    expect(fakes.locator("visible=true")).to_have_count(1)
    expect(shown.get_by_text("Nothing matches these filters.")).to_be_hidden()


def test_zoom_follows_the_arrow_keys_in_all_pictures_of_a_group(shown: Page) -> None:
    one = group(shown, "s1@nod-d1")
    zoom = one.locator(".zoom")
    zoom.press("Enter")
    zoom.press("ArrowRight")
    origins = one.locator("video").evaluate_all("clips => clips.map(clip => getComputedStyle(clip).transformOrigin)")
    width = one.locator("video").first.evaluate("clip => clip.offsetWidth")
    assert len(set(origins)) == 1 and float(origins[0].split("px")[0]) == pytest.approx(0.6 * width, abs=1)
    assert zoom.get_attribute("aria-pressed") == "true"
    marks = one.locator(".shot").evaluate_all("shots => shots.map(shot => getComputedStyle(shot, '::after').content)")
    assert marks == ["none", "none", '"SYNTHETIC"'], "what is enlarged need not have the mark in the picture"


@pytest.mark.parametrize(("width", "scheme"), [(420, "light"), (420, "dark"), (1040, "light")])
def test_the_page_is_accessible_and_fits_a_phone_and_the_report(
    chromium: Browser, page: Path, width: int, scheme: str
) -> None:
    with opened(chromium, page, width=width, scheme=scheme) as found:
        wait_until_shown(found.page)
        assert accessibility(found.page.main_frame) == []
        assert cut_off(found.page) == []
