"""The page and the lab in a real browser: every part is used, and shows what the run itself says."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from servers import Served
from unrolled.serving import lab
from unrolled.serving.library import Library

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
PATIENCE = 60_000
"""Milliseconds that only bound a hang: the machine may be busy."""
expect.set_options(timeout=PATIENCE)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: ./scripts/setup --browser")
SWITCHES = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync")  # fmt: skip
TEXT = "the cat, which ate fish, slept."


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield found
        found.close()


class Visits:
    """Opens pages in a browser and keeps what they complained of and whom they asked."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        self.contexts: list[Any] = []
        self.complaints: list[str] = []
        self.hosts: set[str] = set()

    def open(self, address: str, *, width: int = 1280, dark: bool = False) -> Any:
        context = self.browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
        )
        context.set_default_timeout(PATIENCE)
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda asked: self.hosts.add(urlsplit(asked.url).netloc))
        page.goto(address)
        return page


@pytest.fixture
def visits(browser: Any) -> Iterator[Visits]:
    """Pages that must not complain, and may ask no other host."""
    found = Visits(browser)
    yield found
    for context in found.contexts:
        context.close()
    assert found.complaints == []
    assert len(found.hosts - {""}) == 1


@pytest.fixture
def model(visits: Visits, served: Served) -> Callable[..., Any]:
    """Opens a model's page."""

    def open(name: str, **how: Any) -> Any:
        page = visits.open(f"{served.address}/#{name}", **how)
        expect(page.locator("h1")).to_have_text(name)
        expect(page.locator("#panels > section").first).to_be_visible()
        return page

    return open


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where pictures go: a folder that UNROLLED_SCREENSHOTS names, or one of the test's own."""
    folder = Path(os.environ.get("UNROLLED_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def bars_of(page: Any, label: str) -> dict[str, str]:
    """The names of the bars under a label, and the shares that they say."""
    rows = page.get_by_role("list", name=label).get_by_role("listitem").all()
    return {row.locator(".name").inner_text(): row.locator(".share").inner_text() for row in rows}


def said(share: float) -> str:
    """A share as the page says it."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %" if share >= 0.001 else "< 0.1 %"


def number_of(share: str) -> float:
    return float(share.removesuffix("%").replace("<", "")) / 100


def test_typing_shows_the_next_symbols_and_the_surprise(model: Callable[..., Any], served: Served) -> None:
    page = model("writer")
    page.locator("#write").press_sequentially(TEXT)
    reading = page.locator(".text").first
    expect(reading).to_have_text(TEXT)
    (answer,) = served.told("writer/next", prefixes=[TEXT], top=8)["answers"]
    expect(page.get_by_role("list", name="What may come next").locator(".name").first).to_have_text(answer[0]["shown"])
    shown = bars_of(page, "What may come next")
    assert list(shown) == [one["shown"] for one in answer]
    assert all(abs(number_of(shown[one["shown"]]) - one["probability"]) < 0.006 for one in answer)
    assert sum(map(number_of, shown.values())) <= 1.04
    (score,) = served.told("writer/score", inputs=[TEXT])["answers"]
    logs = [one["log_probability"] for one in score["symbols"]]
    titles = [span.get_attribute("title") for span in reading.locator("span").all()]
    bits = [float(re.search(r": ([\d.]+) bits", title or "")[1]) for title in titles]  # type: ignore[index]
    assert bits == pytest.approx([-log / 0.6931472 for log in logs[: len(bits)]], abs=0.01)


def test_going_back_is_going_on_from_an_older_state(model: Callable[..., Any], served: Served) -> None:
    page = model("writer")
    field, reading = page.locator("#write"), page.locator(".text").first
    field.press_sequentially("the dog")
    expect(reading).to_have_text("the dog")
    for _ in range(3):
        field.press("Backspace")
    field.press_sequentially("cat")
    expect(reading).to_have_text("the cat")
    (answer,) = served.told("writer/next", prefixes=["the cat"], top=8)["answers"]
    expect(page.get_by_role("list", name="What may come next").locator(".name").first).to_have_text(answer[0]["shown"])
    assert list(bars_of(page, "What may come next")) == [one["shown"] for one in answer]


def test_gates_are_drawn(model: Callable[..., Any]) -> None:
    page = model("writer")
    page.locator("#write").fill("the cat")
    page.get_by_text("Gates and states").click()
    expect(page.locator(".heatmaplayer image")).to_have_count(1)
    page.get_by_label("Gate or state").select_option("forget")
    page.get_by_label("Layer").select_option("1")
    expect(page.get_by_role("img", name="forget, 12 units by 7 timesteps")).to_be_visible()


def test_choosing_an_alternative_goes_on_from_there(model: Callable[..., Any]) -> None:
    page = model("writer")
    page.get_by_label("Begins with").fill("the ")
    page.get_by_label("Length").fill("20")
    page.get_by_role("button", name="Draw").click()
    expect(page.get_by_text("as long as was asked for")).to_be_visible()
    sample = page.get_by_role("group", name="The sample")
    symbols = sample.get_by_role("button")
    expect(symbols).to_have_count(20)
    before = [one.text_content() for one in symbols.all()]
    symbols.nth(4).hover()
    choices = page.get_by_role("button", name="go on with")
    expect(choices).to_have_count(6)
    symbols.nth(4).click()
    wanted = (choices.nth(3).get_attribute("aria-label") or "").removeprefix("go on with ").partition(", ")[0]
    choices.nth(3).click()
    expect(symbols).to_have_count(25)
    after = [one.text_content() for one in symbols.all()]
    assert after[:4] == before[:4]
    assert symbols.nth(4).get_attribute("aria-label").startswith(wanted)
    assert (sample.text_content() or "").startswith("the " + "".join(map(str, before[:4])))


def test_a_sample_can_be_stopped(model: Callable[..., Any]) -> None:
    page = model("writer")
    page.get_by_label("Length").fill("5000")
    page.get_by_role("button", name="Draw").click()
    expect(page.get_by_role("group", name="The sample").get_by_role("button").nth(10)).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("stopped")).to_be_visible()


def test_two_texts_are_compared(model: Callable[..., Any], served: Served) -> None:
    page = model("writer")
    page.get_by_label("First text").fill("the cat slept.")
    page.get_by_label("Second text").fill("zzz qqq xxxxx")
    first, second = served.told("writer/score", inputs=["the cat slept.", "zzz qqq xxxxx"])["answers"]
    likelier = "first" if first["log_probability"] > second["log_probability"] else "second"
    expect(page.get_by_text(f"The {likelier} is")).to_be_visible()
    assert page.locator("td.number").first.inner_text() == f"{first['log_probability']:.2f}"


def test_the_tags_are_those_of_the_run(model: Callable[..., Any], library: Library) -> None:
    page = model("both")
    text = "the old cat slept"
    page.locator("#label").press_sequentially(text)
    tags = page.get_by_role("list", name="Tokens and their labels").get_by_role("listitem")
    expect(tags).to_have_count(4)
    run: Any = library.get("both").run
    expect(tags.nth(3)).to_contain_text("slept")
    assert tuple(tag.locator("small").inner_text() for tag in tags.all()) == tuple(run.predict(text).labels)


def test_the_classes_are_those_of_the_run(model: Callable[..., Any], library: Library) -> None:
    page = model("reviews")
    page.locator("#label").fill("good film")
    run: Any = library.get("reviews").run
    found = run.predict("good film")
    expect(page.locator(".verdict")).to_have_text(f"{found.label}, {said(found.probabilities[found.label])}")
    shown = bars_of(page, "Classes and their probabilities")
    assert shown == {name: said(share) for name, share in found.probabilities.items()}
    expect(page.get_by_text("On the way:")).to_be_visible()
    way = page.get_by_role("img", name="What it thought on the way, over 2 timesteps")
    expect(way.locator(".scatterlayer .trace")).to_have_count(2)


def test_tags_come_with_every_key(model: Callable[..., Any], library: Library) -> None:
    page = model("tags")
    page.route("**/predict", lambda route: None)  # never answered: what is seen comes from the stream
    field, words = page.locator("#label"), ["the", "old", "cat", "slept"]
    tags = page.get_by_role("list", name="Tokens and their labels").get_by_role("listitem")
    run: Any = library.get("tags").run
    for count in range(1, 5):
        field.press_sequentially(words[count - 1])
        expect(tags).to_have_count(count)
        expect(tags.nth(count - 1)).to_contain_text(words[count - 1])
        assert [tag.locator("small").inner_text() for tag in tags.all()] == list(
            run.predict(tuple(words[:count])).labels
        )
        field.press_sequentially(" ")
    page.get_by_text("Gates and states").click()
    expect(page.get_by_role("img", name="12 units by 4 timesteps")).to_be_visible()
    for _ in range(7):
        field.press("Backspace")
    expect(tags).to_have_count(3)


def test_look_ahead_labels_late_and_then_all(model: Callable[..., Any], served: Served, library: Library) -> None:
    page, words = model("ahead"), ["the", "old", "cat", "slept", "a", "dog", "sat", "a", "aunt"]
    field, tags = (
        page.locator("#label"),
        page.get_by_role("list", name="Tokens and their labels").get_by_role("listitem"),
    )
    expect(page.get_by_text(f"at most {library.get('ahead').latency} timesteps after it")).to_be_visible()
    field.fill(" ".join(words))
    expect(tags).to_have_count(9)  # after the pause
    run: Any = library.get("ahead").run
    labels = list(run.predict(tuple(words)).labels)
    assert [tag.locator("small").inner_text() for tag in tags.all()] == labels
    page.route("**/predict", lambda route: None)
    field.press_sequentially(" ran")
    stream = served.told("ahead/streams")["id"]
    answered = served.told(f"ahead/streams/{stream}", append=[*words, "ran"])["answered"]
    assert 0 < answered < 9
    expect(tags).to_have_count(answered)  # the rest waits
    assert [tag.inner_text().split()[0] for tag in tags.all()] == words[:answered]


def test_the_translation_is_the_run_s(model: Callable[..., Any], served: Served, library: Library) -> None:
    page = model("dates")
    page.locator("#source").fill("4 may 1999")
    (answer,) = served.told("dates/translate", texts=["4 may 1999"], beam=5, best=5)["answers"]
    expect(page.locator(".verdict")).to_have_text(answer["candidates"][0]["text"] or "(nothing)")
    assert page.locator("tbody tr").count() == len(answer["candidates"])
    expect(page.locator(".heatmaplayer image")).to_have_count(1)
    run: Any = library.get("dates").run
    tree = run.search_tree("4 may 1999", beam=5, best=5)
    search = page.get_by_role("img", name=f"{len(tree.nodes) - 1} hypotheses in {tree.steps} steps")
    expect(search).to_be_visible()
    assert search.locator(".node.answer").count() == len(tree.path(tree.answer))
    fates = {fate: sum(node.fate == fate for node in tree.nodes[1:]) for fate in ("pruned", "finished")}
    best = {node.number for node in tree.path(tree.answer)}
    for fate, count in fates.items():
        own = sum(node.fate == fate for node in tree.nodes if node.number in best)
        assert search.locator(f".node.{fate}").count() == count - own


def test_the_lab_steps_through_a_cell(visits: Visits, served: Served) -> None:
    page = visits.open(f"{served.address}/lab")
    box = page.get_by_role("img", name="c⟨t⟩:")
    expect(box).to_be_visible()
    page.locator("#sequence").fill("1, -1, 0.5")
    expect(page.get_by_text("t = 1 of 3")).to_be_visible()
    page.get_by_role("button", name="Step").press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("t = 3 of 3: x = 0.50")).to_be_visible()
    steps = lab.steps_of(lab.StepsBody(cell="lstm", seed=1, hidden=2, inputs=[[1.0], [-1.0], [0.5]]))["steps"]
    numbers = ", ".join(f"{one:.2f}".replace("-", "−") for one in steps[2]["13"])
    expect(box).to_have_attribute("aria-label", f"c⟨t⟩: {numbers}")
    page.get_by_role("combobox", name="Cell").first.select_option("gru")
    expect(page.get_by_role("img", name="Γ_r:")).to_be_visible()
    page.locator("#sequence").fill("one")
    expect(page.get_by_text("Inputs are numbers")).to_be_visible()


def test_the_lab_keeps_curves_of_gradients(visits: Visits, served: Served) -> None:
    page = visits.open(f"{served.address}/lab")
    expect(page.get_by_text("each timestep. c:")).to_be_visible()
    page.get_by_role("button", name="Keep this curve").click()
    page.get_by_role("combobox", name="Cell").nth(1).select_option("rnn")
    expect(page.locator(".plot:not(.small) .legendtext")).to_have_count(3)
    expect(page.get_by_label("Forget bias")).to_be_disabled()
    expect(page.get_by_label("Chrono")).to_be_disabled()
    page.get_by_role("combobox", name="Cell").nth(1).select_option("lstm")
    page.get_by_label("Chrono").fill("100")
    expect(page.get_by_label("Forget bias")).to_be_disabled()
    expect(page.locator(".plot:not(.small) .legendtext").filter(has_text="chrono 100")).to_have_count(2)
    page.get_by_role("button", name="Forget the others").click()
    expect(page.get_by_role("button", name="Forget the others")).to_be_disabled()


def test_the_keyboard_is_enough(model: Callable[..., Any]) -> None:
    page = model("writer")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the model")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("#write")).to_be_focused()
    page.keyboard.type("the")
    expect(page.locator(".text").first).to_have_text("the")
    prefix = page.get_by_label("Begins with")
    for _ in range(8):
        page.keyboard.press("Tab")
        if prefix.evaluate("element => element === document.activeElement"):
            break
    page.keyboard.type("the cat")
    page.keyboard.press("Enter")
    symbols = page.get_by_role("group", name="The sample").get_by_role("button")
    expect(symbols.nth(3)).to_be_visible()
    symbols.first.focus()
    page.keyboard.press("ArrowRight")
    expect(symbols.nth(1)).to_be_focused()
    outline = symbols.nth(1).evaluate("element => getComputedStyle(element).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    choices = page.get_by_role("button", name="go on with")
    expect(choices.first).to_be_focused()
    expect(page.get_by_text("as long as was asked for")).to_be_visible()


def test_a_key_is_asked_for(visits: Visits, start: Callable[..., Served]) -> None:
    page = visits.open(f"{start(key='secret').address}/#writer")
    page.locator("#key").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The server does not take this key")).to_be_visible()
    page.locator("#key").fill("secret")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("writer")
    expect(page.locator("#write")).to_be_visible()
    refused = [words for words in visits.complaints if "401" in words]
    visits.complaints = [words for words in visits.complaints if words not in refused]
    assert refused


def test_a_lost_server_is_said_and_found_again(model: Callable[..., Any], visits: Visits) -> None:
    page = model("writer")
    page.locator("#write").fill("the")
    expect(page.locator(".text").first).to_have_text("the")
    page.context.set_offline(True)
    page.locator("#write").press_sequentially(" cat")
    expect(page.locator("#problem")).to_contain_text("The server does not answer")
    page.context.set_offline(False)
    expect(page.locator(".text").first).to_have_text("the cat")
    expect(page.locator("#problem")).to_be_hidden()
    visits.complaints = [words for words in visits.complaints if "ERR_INTERNET_DISCONNECTED" not in words]


def test_light_or_dark_is_kept(model: Callable[..., Any]) -> None:
    page = model("writer", dark=True)
    ground = "() => getComputedStyle(document.documentElement).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Switch between light and dark").click()
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    assert page.evaluate(ground) == light


@pytest.mark.parametrize(("width", "dark"), [(360, True), (768, False), (1280, False)], ids=str)
def test_pages_fit_any_width(
    model: Callable[..., Any], visits: Visits, served: Served, screenshots: Path, width: int, dark: bool
) -> None:
    def keep(page: Any, name: str) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=screenshots / f"{name}-{width}-{'dark' if dark else 'light'}.png", full_page=True)

    page = model("writer", width=width, dark=dark)
    page.locator("#write").fill("\n")
    expect(page.locator(".text").first).to_have_text("↵\n")
    keep(page, "one-symbol")
    lab_page = visits.open(f"{served.address}/lab", width=width, dark=dark)
    expect(lab_page.locator(".legendtext").nth(6)).to_be_visible()
    keep(lab_page, "lab")


def test_a_long_text_does_not_stop_the_page(model: Callable[..., Any], screenshots: Path) -> None:
    page = model("writer", width=360)
    long = (TEXT + "\n") * 160  # 4,960 symbols
    page.locator("#write").fill(long)
    expect(page.locator(".text").first.locator("span")).to_have_count(len(long))
    page.locator("#write").press("End")
    page.locator("#write").press_sequentially("ab")
    expect(page.locator(".text").first.locator("span")).to_have_count(len(long) + 2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.screenshot(path=screenshots / "long-360-light.png", full_page=True)
