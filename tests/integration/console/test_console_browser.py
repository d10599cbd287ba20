"""The page in a real headless Chromium: what a duty officer sees and does."""

import contextlib
import os
import time
from pathlib import Path

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from contracts.query import AgentLosses

pytestmark = pytest.mark.needs_chromium


@pytest.fixture
def page(browser, console, eventually):
    return Page(browser, console, eventually)


class Page:
    """What a person can see and click."""

    def __init__(self, browser, console, eventually):
        self.browser = browser
        self.console = console
        self.eventually = eventually
        browser.get(console.url + "/")
        self.find("input[name=name]").send_keys("Li Wei")
        self.find("input[name=password]").send_keys(console.issue_password())
        self.find("#login button").click()
        self.see("#connection[data-connection=live]")

    def find_all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def see(self, selector, timeout_s=10.0):
        return self.eventually(lambda: self._displayed(selector), selector, timeout_s)

    def _displayed(self, selector):
        with contextlib.suppress(StaleElementReferenceException):  # drawn anew meanwhile: look again
            return next((one for one in self.find_all(selector) if one.is_displayed()), None)
        return None

    def text(self, selector):
        return self.browser.execute_script(
            "const e = document.querySelector(arguments[0]); return e ? e.innerText : ''", selector
        )

    def see_text(self, selector, text, timeout_s=10.0):
        self.eventually(lambda: text in self.text(selector), f"{text!r} in {selector}", timeout_s)

    def channels(self):
        """The rows, read in one step: they may be drawn anew at any moment."""
        script = "return [...document.querySelectorAll('#fleet-rows tr')].map((row) => row.dataset.channel)"
        return self.browser.execute_script(script)

    def screenshot(self, name):
        folder = os.environ.get("CITYSENSE_SCREENSHOTS")
        if folder:
            self.browser.save_screenshot(str(Path(folder) / f"{name}.png"))

    def faults(self):
        """What the browser complained of; a failed request of a test that stops a server is not the page's fault."""
        return [row["message"] for row in self.browser.get_log("browser") if row["level"] == "SEVERE"]


def test_an_alarm_appears_without_a_reload_and_can_be_acknowledged(page, city):
    page.see_text("#alarms-none", "No alarms")
    page.browser.execute_script("window.isSamePage = true")
    city.raise_alarm()
    row = page.see("[data-alarm-id='1'][data-alarm-state=unacknowledged]", 2.0)
    for text in ("RED", "Priority 1", "Methane above 25 %LEL", "Gas station Nanhu Road", "gd-0001", "27.3 %LEL"):
        assert text in row.text
    assert page.browser.title == "(1) Alarms – Test <city>"
    strain = {"channel_id": 3, "node_id": "sg-0001", "site_id": "bridge-1", "quantity": "strain", "set_point": 300.0}
    city.raise_alarm(alarm_id=2, priority=3, colour="yellow", title="Strain above 300 µε", value=312.0, **strain)
    returned = {"state": "returned_unacknowledged", "is_active": False, "returned_ns": time.time_ns()}
    methane = {"priority": 2, "colour": "orange", "title": "Methane above 10 %LEL", "value": 11.2, "set_point": 10.0}
    city.raise_alarm(alarm_id=3, **methane, **returned)
    page.see("[data-alarm-id='3']")
    page.screenshot("alarms")
    order = [one.get_attribute("data-alarm-id") for one in page.find_all("[data-alarm-id]")]
    assert order == ["1", "3", "2"]
    page.find("[data-alarm-id='1'] [data-action=acknowledge]").click()
    row = page.see("[data-alarm-id='1'][data-alarm-state=acknowledged]")
    assert city.acknowledgements == [(1, "Li Wei")]
    assert "acknowledged by Li Wei" in row.text
    assert not row.find_elements(By.CSS_SELECTOR, "[data-action=acknowledge]")
    page.see_text("#notice", "Acknowledged: Methane above 25 %LEL")
    assert page.browser.title == "(2) Alarms – Test <city>"
    page.screenshot("acknowledged")
    page.find("[data-alarm-id='3'] [data-action=acknowledge]").click()
    page.eventually(lambda: not page.find_all("[data-alarm-id='3']"), "the returned alarm leaves the list")
    assert page.browser.execute_script("return window.isSamePage") is True
    assert page.faults() == []


def test_the_alarm_is_on_the_page_within_a_fraction_of_a_second(page, city):
    page.see_text("#alarms-none", "No alarms")
    page.browser.execute_script(
        "window.seenMs = 0; new MutationObserver(() => { if (!window.seenMs && "
        "document.querySelector('[data-alarm-id]')) window.seenMs = Date.now(); })"
        ".observe(document.getElementById('alarms'), {subtree: true, childList: true})"
    )
    alarm = city.raise_alarm()
    seen_ms = page.eventually(lambda: page.browser.execute_script("return window.seenMs"), "the alarm is seen")
    delay_ms = seen_ms - alarm.raised_ns / 1e6
    print(f"alarm service has it -> page has it: {delay_ms:.0f} ms")
    assert delay_ms < 1_000


def test_a_bad_value_shows_its_reason_and_never_the_old_number(page, city):
    page.see_text("[data-channel='gd-0001/methane_lel'] .now", "2.0 %LEL")
    measured_ns = time.time_ns()
    city.report(
        (1, {"value": 12.3, "last_good_value": 12.3, "last_good_ns": measured_ns}),
    )
    page.see_text("[data-channel='gd-0001/methane_lel'] .now", "12.3 %LEL")
    bad = {"value": None, "level": "bad", "reason": "no_answer", "score_ewma_z": None, "last_good_value": 12.3,
           "last_good_ns": measured_ns}  # fmt: skip
    city.report((1, bad), (2, {"value": 99.0, "level": "bad", "reason": "out_of_range", "last_good_ns": measured_ns}))
    page.see("[data-channel='gd-0001/methane_lel'][data-level=bad][data-reason=no_answer]")
    assert page.text("[data-channel='gd-0001/methane_lel'] .now") == "—"
    assert "BAD: no answer: check the device's power" in page.text("[data-channel='gd-0001/methane_lel'] .quality")
    assert page.text("[data-channel='gd-0001/methane_lel'] .last-good").startswith("last good 12.3 %LEL at ")
    page.see_text("[data-channel='gd-0001/carbon_monoxide'] .now", "—")
    assert "99" not in page.text("[data-channel='gd-0001/carbon_monoxide']")
    assert page.text("[data-counter=bad] dd") == "2"
    assert "nothing received yet" in page.text("[data-channel='sg-0001/temperature']")
    page.screenshot("bad")
    city.report((1, {"value": 2.5, "last_good_value": 2.5}))
    page.see_text("[data-channel='gd-0001/methane_lel'] .now", "2.5 %LEL")
    assert page.text("[data-channel='gd-0001/methane_lel'] .last-good") == ""
    assert page.faults() == []


def test_a_service_that_is_down_is_said_in_red_and_nothing_old_looks_live(page, city):
    city.raise_alarm()
    page.see("[data-alarm-id='1']")
    city.alarm_service.stop()
    page.see_text("#banners", "Alarm service does not answer since")
    page.see("#alarms-section .not-live")
    assert not page.find("#fleet-section .not-live").is_displayed()
    city.stream_processor.stop()
    page.see_text("#banners", "values shown are old")
    page.see("#fleet-section .not-live")
    assert page.text("[data-counter=good] dd") == "—"
    page.find("[data-action=acknowledge]").click()
    page.see_text("#notice", "NOT acknowledged")
    page.screenshot("down")
    city.alarm_service.start()
    city.stream_processor.start()
    page.eventually(lambda: page.text("#banners") == "", "the banners go", 15)
    assert not page.find("#alarms-section .not-live").is_displayed()


def test_the_page_says_itself_that_its_connection_is_lost_and_recovers(page, city, console):
    city.raise_alarm()
    page.see("[data-alarm-id='1']")
    port = console.url.rpartition(":")[2]
    console.stop()
    page.see("#lost")
    assert "Nothing on this page is current" in page.text("#lost")
    page.see("#alarms-section .not-live")
    page.screenshot("lost")
    console.config.write_text(console.config.read_text().replace("port = 0", f"port = {port}"))
    city.raise_alarm(alarm_id=2, title="Raised while nobody could see it")
    console.start()
    page.see("#connection[data-connection=live]", 15)
    page.see("[data-alarm-id='2']")
    assert not page.find("#lost").is_displayed()


def test_the_language_can_be_switched_and_is_remembered(page, city):
    city.raise_alarm()
    city.report((1, {"value": None, "level": "bad", "reason": "no_answer", "last_good_ns": time.time_ns()}))
    page.find("header a[lang=zh]").click()
    page.see_text("#alarms-heading", "报警")
    page.see_text("[data-action=acknowledge]", "确认")
    page.see_text("[data-channel='gd-0001/methane_lel'] .quality", "异常: 无应答")
    page.see("#connection[data-connection=live]")
    page.screenshot("chinese")
    page.browser.get(page.console.url + "/")
    assert page.text("#connection") in {"实时", "正在连接…"}
    assert page.find("html").get_attribute("lang") == "zh"


def test_a_row_opens_its_trend_and_the_filter_narrows_the_rows(page, city):
    page.find("[data-channel='gd-0001/methane_lel'] .value").click()
    page.see("#chart[data-drawn=yes] canvas")
    assert "Methane above 25 %LEL" in page.text("#channel-panel")
    page.screenshot("trend")
    page.find("[data-span='1h']").click()
    page.see("#chart[data-span='1h'][data-drawn=yes] canvas")
    page.find("[data-action=close]").click()
    assert not page.find_all("#channel-panel")
    page.find("[name=text]").send_keys("bridge")
    page.eventually(lambda: len(page.channels()) == 2, "only the bridge's channels are left")
    page.find("[name=text]").clear()
    page.find("[name=text]").send_keys(" ")
    page.eventually(lambda: len(page.channels()) == 4, "all rows are back")
    city.report((1, {"value": None, "level": "bad", "reason": "crc_error"}))
    Select(page.find("[name=quality]")).select_by_value("not_good")
    page.eventually(
        lambda: page.channels() == ["gd-0001/methane_lel", "sg-0001/temperature", "sg-0001/strain"],
        "bad, then never heard, then uncertain",
    )
    page.find("[data-counter=quarantine] button").click()
    page.see_text("#quarantine-panel", "no node <b>n-99</b>")
    page.screenshot("quarantine")
    assert page.faults() == []


def test_the_highest_score_stands_in_the_row_and_all_of_them_in_the_panel(page, city):
    methane = "[data-channel='gd-0001/methane_lel'] .score"
    assert (page.text(f"{methane} b"), page.text(f"{methane} small")) == ("0.40", "recent mean")
    page.find("[data-channel='gd-0001/methane_lel'] .node button").click()
    page.see("#score-chart canvas")
    page.see_text("[data-score=score_group_distance]", "none: it takes 3 like channels here, there are 1")
    for name in ("● recent mean", "■ novelty", "◆ rate of change"):
        page.see_text("#score-chart .u-legend", name)
    assert "group" not in page.text("#score-chart .u-legend"), "one methane detector is no group"
    page.see_text("[data-score=score_novelty]", "none yet: warming up")
    city.report((1, {"scores": {"score_novelty": 0.71, "score_rate_of_change": 0.5}}), (2, {"score_ewma_z": None}))
    page.see(f"{methane}[data-unusual]")
    assert (page.text(f"{methane} b"), page.text(f"{methane} small")) == ("0.71", "novelty")
    page.see_text("[data-channel='gd-0001/carbon_monoxide'] .score", "warming up")
    page.see_text("[data-score=score_novelty][data-unusual]", "0.71 (7.3 sigma)")
    assert "0.50 (3.0 sigma)" in page.text("[data-score=score_rate_of_change]")
    page.screenshot("scores")
    assert page.faults() == []
    page.find("[name=text]").send_keys("bridge")
    page.eventually(lambda: len(page.channels()) == 2, "the channel of the panel is not in the table any more")
    city.report((1, {"value": None, "level": "bad", "reason": "no_answer", "scores": {}}))
    page.see_text("[data-score=score_novelty]", "none: the reading is bad")
    city.stream_processor.stop()
    page.see("#scores .not-live")
    city.stream_processor.start()
    page.eventually(lambda: not page.find("#scores .not-live").is_displayed(), "the scores are live again", 15)


def test_a_channel_without_a_score_in_the_time_of_the_chart_says_so(page, city):
    city.has_scores = False
    page.find("[data-channel='sg-0001/strain'] .node button").click()
    page.see_text("#score-chart-empty", "No scores to draw in this time")
    assert not page.find("#score-chart").is_displayed()
    city.has_scores = True
    page.find("[data-span='1h']").click()
    page.see("#score-chart canvas")
    assert not page.find("#score-chart-empty").is_displayed()
    assert page.faults() == []


def test_what_a_full_gateway_gave_up_stands_on_the_page_and_in_the_gateways_panel(page, city):
    city.losses = AgentLosses(thinned_readings_total=12_340, since_ns=time.time_ns())
    page.see_text("#banners", "gw-1 (12,340 thinned, 0 dropped, told ")
    page.find("[data-counter=gateways] button").click()
    page.see_text("#gateways-panel [data-gateway-id=gw-1]", "12,340")
    page.screenshot("gateways")
    assert page.faults() == []


def test_another_device_signs_in_with_a_password_from_the_page_and_sign_out_ends_the_session(page, console):
    page.find("[data-action=another-device]").click()
    password = page.see("#device-password").text
    with console.client() as second:
        assert second.post("/login", data={"name": "Somebody Else", "password": password}).status_code == 403
        assert second.post("/login", data={"name": "Li Wei", "password": password}).status_code == 303
        assert second.get("/").status_code == 200
    page.find("[data-action=sign-out]").click()
    page.see("input[name=password]")
    page.browser.get(console.url + "/")
    assert page.browser.current_url.endswith("/login")
    assert page.faults() == []


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_shows_the_page_without_scrolling_sideways(page, city, width):
    city.raise_alarm(title="Methane above 25 %LEL at a place with a rather long name")
    city.report((1, {"value": None, "level": "bad", "reason": "no_answer", "last_good_ns": time.time_ns()}))
    city.report((2, {"scores": {"score_rate_of_change": 0.88}}))
    page.browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 844, "deviceScaleFactor": 2, "mobile": True},
    )
    page.see("[data-alarm-id='1']")
    page.see("[data-channel='gd-0001/methane_lel'][data-level=bad]")
    page.screenshot(f"phone-{width}")
    measure = "return [document.documentElement.scrollWidth, window.innerWidth]"
    content, window = page.browser.execute_script(measure)
    assert (content, window) == (width, width)
    assert page.find("[data-action=acknowledge]").size["height"] >= 44
    page.find("[data-channel='gd-0001/methane_lel'] .node button").click()
    page.see("#chart[data-drawn=yes] canvas")
    page.screenshot(f"phone-trend-{width}")
    panel = "const p = document.querySelector('.panel'); return [p.scrollWidth, p.clientWidth]"
    content, shown = page.browser.execute_script(panel)
    assert content <= shown, "nothing of the panel lies beside the screen"
    assert page.browser.execute_script(measure)[0] == width
    assert page.faults() == []
