"""The page in a real browser, without a network: it loads, turns, slides, and shows the file's values."""

from __future__ import annotations

import base64
import itertools
import shutil
from collections.abc import Iterator

import numpy as np
import pytest

from propensity.viewing import write_report
from tests.viewing.conftest import make_scene

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver on the PATH"),
]

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)


@pytest.fixture(scope="module")
def driver() -> Iterator:
    """Chromium without a screen and without a network."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs the package selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(DRIVER)
    browser = webdriver.Chrome(options=options, service=service)
    browser.set_script_timeout(60)
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
    )
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def scene():
    return make_scene(4, 300)


@pytest.fixture
def page(driver, scene, tmp_path_factory) -> Iterator:
    """A fresh page of the scene; at the end the console must be silent."""
    path = write_report(scene, tmp_path_factory.mktemp("page") / "report.html", title="A <b>made</b> scene")
    driver.set_window_size(1300, 1000)
    driver.get(path.as_uri())
    yield driver
    assert driver.get_log("browser") == []


def run(page, script: str, *arguments):
    return page.execute_script(f"const report = window.propensityReport; {script}", *arguments)


def pixels(page) -> np.ndarray:
    """What the canvas shows."""
    flat = page.execute_async_script("""
        const done = arguments[0], { view } = window.propensityReport, gl = view.renderer.getContext();
        view.drawNow();
        const out = new Uint8Array(4 * gl.drawingBufferWidth * gl.drawingBufferHeight);
        gl.readPixels(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight, gl.RGBA, gl.UNSIGNED_BYTE, out);
        let text = "";
        for (let k = 0; k < out.length; k += 148) text += String.fromCharCode(...out.subarray(k, k + 3));
        done(btoa(text));
    """)
    return np.frombuffer(base64.b64decode(flat), np.uint8).reshape(-1, 3)


def choose(page, name: str, value) -> None:
    """Move a control as users do, by its value and an input event; figures follow at the next refresh."""
    run(
        page,
        "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event('input', { bubbles: true }));",
        name,
        str(value),
    )
    page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")


def test_it_loads_and_says_what_it_is(page):
    assert page.find_element("id", "title").text == "A <b>made</b> scene"
    assert page.title == "A <b>made</b> scene"
    assert page.find_element("id", "nothing").is_displayed() is False
    for name in ("scores", "scatter", "histogram", "correlation"):
        assert page.find_elements("css selector", f"#{name} svg path")
    assert len(np.unique(pixels(page), axis=0)) > 50


def test_values_equal_those_of_the_file(page, scene):
    values = "return Array.from({length: 300}, (_, i) => report.value(i)).map(v => isNaN(v) ? null : v)"
    for frame in (0, 3):
        choose(page, "frame", frame)
        for time in range(3):
            choose(page, "time", time)
            for field in scene.fields:
                choose(page, "field", field)
                found = np.array(run(page, values), float)
                expected = scene.frames[frame].fields[field][:, time].astype(np.float32)
                np.testing.assert_array_equal(found, expected)


def test_controls_change_the_picture_and_the_figures(page):
    seen = [pixels(page)]
    for name, value in (
        ("time", 2),
        ("frame", 1),
        ("field", "simulated"),
        ("fastest", 20),
        ("slab", 0),
        ("depth", 0.2),
        ("scale", "relative"),
        ("map", "cividis"),
    ):
        choose(page, name, value)
        seen.append(pixels(page))
        assert (seen[-1] != seen[-2]).any(), name
    assert "t = 100" in page.find_element("css selector", "#time-text").text
    assert "2 of 4" in page.find_element("css selector", "#frame-text").text
    assert "simulated propensity" in page.find_element("css selector", "#histogram p").text


def test_dragging_turns_and_keys_do_too(page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    canvas = page.find_element("id", "particles")
    camera = "return report.view.camera.position.toArray()"
    positions = [run(page, camera)]
    ActionChains(page).drag_and_drop_by_offset(canvas, 120, 40).perform()
    positions.append(run(page, camera))
    for keys in (Keys.ARROW_LEFT, Keys.ARROW_UP, "+"):
        canvas.send_keys(keys)
        positions.append(run(page, camera))
    distances = np.linalg.norm(positions, axis=1)
    assert all(np.linalg.norm(np.subtract(a, b)) > 0.1 for a, b in itertools.pairwise(positions))
    assert distances == pytest.approx(distances[0] * np.array([1, 1, 1, 1, 0.9]))
    canvas.send_keys("0")
    assert run(page, camera) == pytest.approx(positions[0])
    canvas.send_keys("]")
    assert run(page, "return report.state.time") == 2
    canvas.send_keys(" ")
    WebDriverWait(page, 20).until(lambda page: run(page, "return report.state.frame") > 0)
    canvas.send_keys(" ")


def test_hover_and_click_name_the_particle_in_front(page, scene):
    from selenium.webdriver.common.action_chains import ActionChains

    # Where the particle nearest to the eye appears on the canvas.
    index, x, y = run(
        page,
        """
        const { view } = report, eye = view.camera.position;
        let best = -1, near = Infinity;
        for (let i = 0; i < view.frame.n; i++) {
          const p = view.position(i), d = Math.hypot(p[0] - eye.x, p[1] - eye.y, p[2] - eye.z);
          if (d < near) { near = d; best = i; }
        }
        const at = new vendor.Vector3(...view.position(best)).project(view.camera);
        const [width, height] = [view.canvas.clientWidth, view.canvas.clientHeight];
        return [best, 0.5 * (at.x + 1) * width, 0.5 * (1 - at.y) * height];
    """,
    )
    canvas = page.find_element("id", "particles")
    dx, dy = x - canvas.size["width"] / 2, y - canvas.size["height"] / 2
    ActionChains(page).move_to_element_with_offset(canvas, round(dx), round(dy)).perform()
    frame = scene.frames[0]
    value = frame.fields["predicted"][index, 1]
    tip = page.find_element("id", "tooltip").text
    assert f"particle {frame.ids[index]}, species {scene.species[frame.structure.types[index]]}" in tip
    assert f"predicted propensity {float(f'{value:.4g}'):g} σ" in tip or np.isnan(value)
    ActionChains(page).move_to_element_with_offset(canvas, round(dx), round(dy)).click().perform()
    assert run(page, "return report.state.picked") == index
    assert f"particle {frame.ids[index]}" in page.find_element("id", "picked").text


def test_a_particle_is_found_by_its_id(page):
    choose(page, "particle", 17)
    assert run(page, "return report.state.picked") == 16
    assert "particle 17, species" in page.find_element("id", "picked").text
    assert page.find_elements("css selector", "#histogram line[stroke='#ff33bf']")


def test_it_fits_a_phone(page):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.refresh()
        assert run(page, "return document.documentElement.scrollWidth <= innerWidth")
        edges = run(
            page,
            """
            const shown = [...document.querySelectorAll("button, select, input")].filter(e => e.offsetParent);
            return shown.map(e => [e.tagName, e.getBoundingClientRect().right - innerWidth, e.offsetHeight]);
        """,
        )
        assert all(over <= 0 for _, over, _ in edges)
        assert all(height >= 38 for name, _, height in edges if name != "INPUT")
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
