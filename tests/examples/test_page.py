"""The page of the example service in a real browser, for a real store: what a person does there, and may meet."""

from __future__ import annotations

import asyncio
import csv
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from browsing import FOCUS_SHOWS, faults_of
from served import Service, ServiceProcess, lose, saved, table

from neto_async.sandbox import faults

expect = pytest.importorskip("playwright.async_api", reason="Playwright is missing").expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


DROPPED = """() => {
  const carried = new DataTransfer();
  carried.items.add(new File(["Notes\\nhello\\n"], "dropped.csv"));
  return carried;
}"""


@pytest.fixture
def framework() -> str:
    """It alone has a page."""
    return "fastapi"


@pytest.fixture
def service(process: ServiceProcess) -> ServiceProcess:
    """The service as it is run, since some tests end it."""
    return process


@pytest.fixture
async def page(browser: Any, service: Service) -> AsyncIterator[Any]:
    """Open the page; a script that fails, or one that the page's policy stops, fails the test."""
    page = await browser.new_page(timezone_id="Australia/Brisbane", viewport={"width": 1280, "height": 900})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
    await page.goto(service.url)
    yield page
    assert [] == wrong


def csv_file(name: str, content: str | bytes) -> dict[str, Any]:
    buffer = content if isinstance(content, bytes) else content.encode()
    return {"name": name, "mimeType": "text/csv", "buffer": buffer}


async def look_through(page: Any, file: Any) -> None:
    await page.get_by_label("File", exact=True).set_input_files(file)
    await page.get_by_role("button", name="Read the file").click()


def tile(page: Any, word: str) -> Any:
    return page.locator("#counts div", has_text=word).locator("dd")


def notes_in(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row["Notes"] for row in csv.DictReader(file)]


async def done(page: Any) -> None:
    await expect(page.locator("#state:visible")).to_have_text("Done", timeout=30_000)


# -- the way through ------------------------------------------------------------------------------------------------


async def test_a_file_is_seen_before_it_is_sent(page, store):
    """Columns matched and not, the first logs and the first invalid rows are there, and no call was made."""
    content = "Notes,Username,Colour\nhello,ann,red\n" + "".join(f"late,{'x' * 30},red\n" for _ in range(12))

    await look_through(page, csv_file("calls.csv", content))

    await expect(page.get_by_role("heading", name="calls.csv")).to_be_focused()
    await expect(page.locator("#preview-counts")).to_contain_text("13 rows: 1 to send, 12 invalid")
    await expect(page.get_by_role("row", name="Notes")).to_contain_text("Notes")
    await expect(page.get_by_text("Not used: Colour")).to_be_visible()
    await expect(page.locator("#samples")).to_contain_text("hello")
    await expect(page.get_by_text("line 3")).to_be_visible()
    await expect(page.get_by_text("and 2 more rows")).to_be_visible()
    assert 0 == store.call_count

    await page.get_by_role("button", name="Discard the file").click()
    await expect(page.get_by_text("None yet.")).to_be_visible()


async def test_an_import_is_watched_to_its_reports(page, store):
    """The counts go up while the store works, without a reload; the reports say where each row is."""
    answered = asyncio.Event()
    store.refuse_when(lambda fields: fields["Notes"] == "row 3")
    store.faults.next(None, faults.Late(until=answered))
    await look_through(page, csv_file("calls.csv", table(60)))
    await page.get_by_role("button", name="Add 60 logs to the store").click()

    await expect(tile(page, "Added")).to_have_text("1")
    await expect(page.locator("#state")).to_have_text("Running")
    await expect(page.get_by_text("You can close this page")).to_be_visible()
    answered.set()
    await done(page)

    await expect(tile(page, "Added")).to_have_text("59")
    await expect(tile(page, "Refused")).to_have_text("1")
    await expect(page.get_by_role("status").filter(has_text="Done: 59 logs added")).to_have_count(1)
    async with page.expect_download() as download:
        await page.get_by_role("link", name="rejected.csv").click()
    assert ["row 3"] == notes_in(await (await download.value).path())


async def test_a_kind_of_file_brings_its_columns(page, store):
    """The export of another system is imported by choosing its kind."""
    await page.get_by_label("Kind of file").select_option("crm-export")
    await look_through(page, Path(__file__).parents[2] / "examples" / "crm-export.csv")
    await expect(page.get_by_role("row", name="Notes")).to_contain_text("Transcript, else Summary")

    await page.get_by_role("button", name="Add 300 logs").click()
    await done(page)

    assert 300 == store.log_count


async def test_a_file_can_be_dropped(page):
    """It is then the chosen one."""
    dropped = await page.evaluate_handle(DROPPED)
    await page.locator("#drop").dispatch_event("drop", {"dataTransfer": dropped})
    await page.get_by_role("button", name="Read the file").click()
    await expect(page.get_by_role("heading", name="dropped.csv")).to_be_visible()


async def test_times_are_in_the_zone_that_was_chosen(page, store):
    """It begins as the browser's own."""
    await expect(page.get_by_label("Time zone")).to_have_value("Australia/Brisbane")
    await page.get_by_label("Time zone").select_option("Australia/Perth")
    await look_through(page, csv_file("calls.csv", "Notes,Last contacted\nhello,2026-02-02 10:00\n"))
    await expect(page.locator("#samples")).to_contain_text("2026-02-02 02:00:00 UTC (10:00 Perth)")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (csv_file("calls.csv", "Colour\nred\n"), "no column is a field"),
        (csv_file("calls.csv", bytes(range(256)) * 9), "calls.csv"),
        (csv_file("calls.csv", table(20_000)), "larger than 100,000 bytes"),
    ],
    ids=["columns", "binary", "size"],
)
async def test_a_refused_file_is_reported_aloud(page, store, file, words):
    """The reason is an alert and has the focus, the form is still there, and nothing was kept or sent."""
    await look_through(page, file)

    await expect(page.get_by_role("alert")).to_contain_text(words)
    await expect(page.get_by_role("alert")).to_be_focused()
    await expect(page.get_by_label("File", exact=True)).to_be_visible()
    await expect(page.get_by_text("None yet.")).to_be_visible()
    assert 0 == store.call_count

    await look_through(page, csv_file("fixed.csv", table(1)))
    await expect(page.get_by_role("alert")).to_be_hidden()
    await expect(page.get_by_role("button", name="Add 1 log to")).to_be_visible()


# -- what may happen meanwhile --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_restart_in_the_middle_is_lived_through(page, service, store, number):
    """The page says that the service is away, finds it again by itself, and shows the import to its end."""
    await look_through(page, csv_file("calls.csv", table(900)))
    await page.get_by_role("button", name="Add 900 logs").click()
    async with asyncio.timeout(30):
        await store.until(lambda: store.log_count > 200)
    await service.end(number)
    await expect(page.get_by_text("The service can't be reached")).to_be_visible()

    await service.start()
    await done(page)

    await expect(page.get_by_text("The service can't be reached")).to_be_hidden()
    counts = saved(store)
    assert {1} == set(counts.values())
    added, in_doubt = [int(await tile(page, word).inner_text()) for word in ("Added", "In doubt")]
    assert 900 == added + in_doubt
    assert added <= len(counts)


async def test_a_closed_page_harms_nothing(page, browser, service, store):
    """Its address shows the import in another window, and so does the list."""
    answered = asyncio.Event()
    store.faults.next(None, faults.Late(until=answered))
    await look_through(page, csv_file("calls.csv", table(60)))
    await page.get_by_role("button", name="Add 60 logs").click()
    await expect(tile(page, "Added")).to_have_text("1")
    address = page.url
    await page.close()
    answered.set()

    other = await browser.new_page()
    await other.goto(address)
    await done(other)
    assert Counter({f"row {row}": 1 for row in range(60)}) == saved(store)

    await other.get_by_role("link", name="All imports").click()
    await other.get_by_role("link", name="calls.csv").click()
    await expect(other.get_by_role("heading", name="calls.csv")).to_be_visible()
    await done(other)
    await other.go_back()
    await expect(other.get_by_role("heading", name="A new import")).to_be_visible()


async def test_who_goes_back_in_the_meantime_stays_there(page):
    """An import whose status comes late does not take the place of what was asked for after it."""
    await look_through(page, csv_file("calls.csv", table(1)))
    await expect(page.get_by_role("heading", name="calls.csv")).to_be_visible()
    job = page.url.partition("#")[2]
    await page.get_by_role("link", name="All imports").click()
    await expect(page.get_by_role("heading", name="A new import")).to_be_visible()
    asked, answered = asyncio.Event(), asyncio.Event()

    async def late(route: Any) -> None:
        asked.set()
        await answered.wait()
        await route.continue_()

    await page.route(f"**/imports/{job}", late)
    await page.get_by_role("link", name="calls.csv").click()
    await asked.wait()
    await page.go_back()
    async with page.expect_response(f"**/imports/{job}/preview"):
        answered.set()

    await page.evaluate("async () => { for (let i = 0; i < 3; i++) await fetch('/imports'); }")
    await expect(page.get_by_role("heading", name="A new import")).to_be_visible()


async def test_a_stopped_import_goes_on_when_asked(page, store):
    """A refused key is reported with its reason; once it is taken again a button goes on where it was."""
    store.faults.next(None, faults.RefuseKey())
    await look_through(page, csv_file("calls.csv", table(40)))
    await page.get_by_role("button", name="Add 40 logs").click()
    await expect(page.locator("#state")).to_have_text("Stopped")
    await expect(page.locator("#reason")).to_contain_text("key")
    assert 1 == store.log_count

    # The client asks once a minute whether the key is taken again: what is reported is that it goes on and stops.
    await page.get_by_role("button", name="Go on").click()
    await expect(tile(page, "Not sent")).to_have_text("39")
    await expect(page.locator("#bar")).to_have_js_property("value", 1)
    await expect(page.locator("#state")).to_have_text("Stopped")


async def test_what_is_through_can_be_deleted(page, service):
    """After a question; the list is empty then, and so is the folder."""
    await look_through(page, csv_file("calls.csv", table(2)))
    await page.get_by_role("button", name="Add 2 logs").click()
    await done(page)

    page.once("dialog", lambda dialog: dialog.dismiss())
    await page.get_by_role("button", name="Delete what is kept").click()
    page.once("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Delete what is kept").click()

    await expect(page.get_by_text("None yet.")).to_be_visible()
    assert [] == list(service.folder.iterdir())


async def test_an_address_without_an_import_is_reported(page, service):
    """The page says so, and the way back is there."""
    await page.goto(f"{service.url}/#0123456789abcdef")
    await page.reload()
    await expect(page.get_by_role("alert")).to_contain_text("no such import")
    await page.get_by_role("link", name="All imports").click()
    await expect(page.get_by_role("heading", name="A new import")).to_be_visible()


async def test_rows_in_doubt_are_settled(page, store):
    """What stays in doubt has its reasons; with the guarantee all is settled, and what is absent can be sent."""
    lose(store, {1: True, 101: False})
    await look_through(page, csv_file("calls.csv", table(250)))
    await page.get_by_role("button", name="Add 250 logs").click()
    await done(page)
    store.faults.clear()

    await page.get_by_role("button", name="Settle the rows in doubt").click()
    await expect(page.locator("#settling-now")).to_contain_text("200 still in doubt", timeout=20_000)
    await expect(page.locator("#left-in-doubt")).to_contain_text("line 3: ")
    await expect(page.locator("#left-in-doubt")).to_contain_text("and 180 more rows")
    assert [] == await faults_of(page)

    await page.get_by_label("Nobody else has written").check()
    await page.get_by_role("button", name="Settle the rows in doubt").click()
    await expect(page.locator("#settling-now")).to_contain_text("100 rows in the store, 100 certainly", timeout=20_000)
    await expect(page.locator("#left-in-doubt")).to_be_hidden()
    await expect(page.get_by_text("go on to send them")).to_be_visible()
    await page.get_by_role("button", name="Go on").click()
    await done(page)
    assert Counter({f"row {row}": 1 for row in range(250)}) == saved(store)


# -- for everyone ---------------------------------------------------------------------------------------------------


async def test_texts_of_files_are_never_markup(page):
    """Tags in a file's name, columns and notes are there as they are, and make no element."""
    evil = "<img src=x onerror=alert(1)>"
    content = f'Notes,"{evil}"\n"{evil}<script>alert(2)</script>",x\n'
    dialogs: list[Any] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog))  # noqa: PLW0108 - Playwright can't call a method of C

    await look_through(page, csv_file(f"{evil}.csv", content))
    await expect(page.get_by_role("heading", name=evil)).to_be_visible()
    await expect(page.locator("#samples")).to_contain_text("<script>alert(2)</script>")
    await expect(page.get_by_text(f"Not used: {evil}")).to_be_visible()
    assert 0 == await page.locator("main img, main script").count()

    await page.get_by_role("button", name="Add 1 log").click()
    await done(page)
    await page.get_by_role("link", name="All imports").click()
    await expect(page.get_by_role("link", name=evil)).to_be_visible()
    assert (0, []) == (await page.locator("main img, main script").count(), dialogs)


async def test_the_keyboard_is_enough(page, tmp_path):
    """From the file to a report by keys alone; the focus is always seen, and follows what is shown."""
    path = tmp_path / "calls.csv"
    path.write_text(table(3), encoding="utf-8")
    keys = page.keyboard
    # Asked for early: the browser must have heard of it when the key is pressed.
    chooser = asyncio.create_task(page.wait_for_event("filechooser"))
    await expect(page.get_by_label("File", exact=True)).to_be_visible()

    async def tab_to(locator: Any) -> None:
        for _ in range(12):
            await keys.press("Tab")
            assert await page.evaluate(FOCUS_SHOWS)
            if await locator.evaluate("(element) => element === document.activeElement"):
                return
        pytest.fail(f"Tab does not come to {locator}")

    await tab_to(page.get_by_label("File", exact=True))
    await keys.press("Space")
    await (await chooser).set_files(path)
    await tab_to(page.get_by_label("Kind of file"))
    await keys.press("ArrowDown")
    await keys.press("ArrowUp")
    await tab_to(page.get_by_role("button", name="Read the file"))
    await keys.press("Enter")
    await expect(page.get_by_role("heading", name="calls.csv")).to_be_focused()
    await tab_to(page.get_by_role("button", name="Add 3 logs"))
    await keys.press("Enter")
    await expect(page.get_by_role("heading", name="calls.csv")).to_be_focused()
    await done(page)
    await tab_to(page.get_by_role("link", name="added.csv"))
    async with page.expect_download() as download:
        await keys.press("Enter")
    assert (await download.value).suggested_filename.endswith("added.csv")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_each_view_is_accessible(page, store, width, scheme):
    """In both schemes and at both widths: every control has a name, every text contrast, and nothing is cut off."""
    await page.emulate_media(color_scheme=scheme)
    await page.set_viewport_size({"width": width, "height": 900})
    await expect(page.get_by_text("None yet.")).to_be_visible()
    assert [] == await faults_of(page)

    await look_through(page, csv_file("calls.csv", "Colour\nred\n"))
    await expect(page.get_by_role("alert")).to_be_visible()
    assert [] == await faults_of(page)

    await look_through(page, csv_file(f"{'long' * 40}.csv", table(3) + f"{'w' * 400},{'x' * 30}\n{'w' * 400},ann\n"))
    await expect(page.get_by_role("heading", name="longlong")).to_be_focused()
    assert [] == await faults_of(page)

    answered = asyncio.Event()
    store.faults.next(faults.Reset(saves=True), faults.Late(until=answered))
    await page.get_by_role("button", name="Add 4 logs").click()
    await expect(tile(page, "In doubt")).to_have_text("1")
    assert [] == await faults_of(page)
    answered.set()
    await done(page)
    assert [] == await faults_of(page)

    store.faults.next(faults.RefuseKey())
    await page.get_by_role("link", name="All imports").click()
    await expect(page.get_by_role("link", name="longlong")).to_be_visible()
    assert [] == await faults_of(page)
    await look_through(page, csv_file("calls.csv", table(3)))
    await page.get_by_role("button", name="Add 3 logs").click()
    await expect(page.locator("#state")).to_have_text("Stopped")
    assert [] == await faults_of(page)
