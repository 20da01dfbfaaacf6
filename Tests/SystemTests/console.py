"""Tests the console in a real browser: console.py QUERY_URL COMMAND_URL FOLDER [TOKEN]. Screenshots go to the folder.

Prints one finding per line, and exits with 1 if there is any.
"""

import json
import sys

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from browsing import eventually, expect, finish, readers, send, start

queries, commands, folder = sys.argv[1:4]
token = sys.argv[4] if len(sys.argv) > 4 else None


def post(path, body):
    return send(commands + path, body, token)[0]


def get(path):
    return send(queries + path, token=token)[1]


browser = start("--window-size=1280,1400")
text, text_of, all_of = readers(browser)

try:
    browser.get(queries + "/console")
    if token:
        eventually("it asks for a token", lambda: browser.find_element(By.ID, "sign-in").is_displayed())
        none = browser.execute_script("return document.getElementById('parked-none').hidden")
        expect(none is True, "it says that nothing is parked before it has heard anything")
        box = browser.find_element(By.ID, "token")
        box.send_keys("not-a-token" + Keys.ENTER)
        eventually("a wrong token is not taken", lambda: "not taken" in text("sign-in-problem"))
        browser.find_element(By.ID, "token").send_keys(token + Keys.ENTER)
    eventually("the grid is there", lambda: len(all_of(".cells button")) == 7 * 16 + 1)
    eventually("all partitions are live", lambda: all(cell.get_attribute("data-mode") == "live" for cell in all_of(".cells button")))
    eventually("all is well", lambda: text("state") == "all is well")
    expect(all_of(".generation h3")[-1].text == "reaction/customer-mail", text("grid"))
    eventually("the processes are there", lambda: len(all_of("#processes tbody tr")) == 5 and "active, " in text("processes"))
    browser.save_screenshot(f"{folder}/console.png")

    # A new order appears by itself and shows in the rate.
    expect(post("/v1/products", {"sku": "LAMP", "name": "Brass lamp", "unitPrice": 1250, "tracksStock": False}) == 201, "product")
    for number in range(30):
        expect(post("/v1/orders", {"orderId": f"lamp-{number}", "customerId": "ada", "lines": [{"sku": "LAMP", "quantity": 2}]}) == 201, "order")
    eventually("the newest order is first", lambda: all_of(".newest .id")[0].text == "lamp-29")
    expect("£25.00" in text_of(".newest"), f"no amount in {text_of('.newest')}")
    expect(post("/v1/orders/lamp-3/payment", {"amount": 2500}) == 200, "payment")
    eventually("it is paid", lambda: get("/v1/orders/lamp-3")["status"] == "paid")

    # Search by keyboard alone.
    query = browser.find_element(By.CSS_SELECTOR, ".query")
    query.send_keys("lamp-3" + Keys.ENTER)
    eventually("its events are shown", lambda: [e.text for e in all_of(".timeline strong")] == ["Order Placed", "Order Paid"])
    expect(text_of(".one h3") == "lamp-3: paid, £25.00", text_of(".one h3"))
    query.clear()
    query.send_keys("brass" + Keys.ENTER)
    eventually("orders with a product are found", lambda: len(all_of(".found li")) == 10)
    query.clear()
    query.send_keys("<img src=x onerror=alert(1)>" + Keys.ENTER)
    eventually("nothing is found, and nothing runs", lambda: "Nothing was found for" in text_of(".found-state"))
    cell = all_of(".cells button")[0]
    cell.send_keys(Keys.ARROW_RIGHT)
    cell.parent.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    eventually("arrow keys move in the grid", lambda: "partition 2: live, run by " in text("cell"))

    # Amounts have the minor units of ISO 4217. Intl alone shows no decimals for IQD and MGA.
    for total, currency, shown in (
        (2500, "GBP", "£25.00"), (2500, "JPY", "¥2,500"), (2500, "KWD", "KWD\u00a02.500"), (2500, "IQD", "IQD\u00a02.500"),
        (25000, "CLF", "CLF\u00a02.5000"), (2500, "MGA", "MGA\u00a025.00"),
    ):
        found = browser.execute_async_script(
            "const done = arguments[2]; import('/console/app.js').then(page => done(page.money(arguments[0], arguments[1])), done)",
            total, currency)
        expect(found == shown, f"{total} of {currency} is shown as {found}")
    edges = browser.execute_script(
        "return [...document.querySelectorAll('.newest button > :nth-child(even)')].map(e => Math.round(e.getBoundingClientRect().right))")
    expect(len(edges) > 4 and len(set(edges)) == 1, f"prices and dates end at {edges}")

    # The focused order keeps the focus while orders arrive.
    browser.execute_script("document.querySelector('.newest button').focus()")
    held = browser.switch_to.active_element.text
    for number in range(3):
        expect(post("/v1/orders", {"orderId": f"late-{number}", "lines": [{"sku": "LAMP", "quantity": 1}]}) == 201, "order")
        eventually("it has come", lambda: any(e.text == f"late-{number}" for e in all_of(".newest .id")))
    expect(browser.switch_to.active_element.text == held, f"the focus went to {browser.switch_to.active_element.text}")

    # After a reload the charts still show the earlier values.
    points = lambda: browser.execute_script("return document.querySelector('#writes .line')?.getAttribute('d').match(/[ML]/g)?.length ?? 0")
    eventually("the chart has some seconds", lambda: points() > 8)
    before = points()
    browser.refresh()
    eventually("the charts are drawn", lambda: points() > 0)
    expect(points() >= before, f"the chart begins with {points()} seconds, and had {before}")
    eventually("all is there again", lambda: text("state") == "all is well" and len(all_of(".newest li")) > 4)

    # All requests went to this host, no errors occurred, and every control has a name.
    hosts = set()
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            hosts.add(message["params"]["request"]["url"].split("/")[2] if "//" in message["params"]["request"]["url"] else "")
    expect(hosts - {""} == {queries.split("/")[2]}, f"requests went to {hosts}")
    allowed = ("404", "401") if token else ("404",)
    for entry in browser.get_log("browser"):
        expect(any(f"status of {code}" in entry["message"] for code in allowed), f"the browser says: {entry['message']}")
    nameless = browser.execute_script("""
      return [...document.querySelectorAll('button, input, svg[role=img], progress')].filter(element =>
        !(element.getAttribute('aria-label') || element.textContent.trim() || element.labels?.length)).map(element => element.outerHTML)""")
    expect(not nameless, f"without a name: {nameless}")
    headings = [int(e.tag_name[1]) for e in all_of("h1, h2, h3") if e.is_displayed()]
    expect(headings[0] == 1 and all(b - a <= 1 for a, b in zip(headings, headings[1:])), f"headings {headings}")

    # On a phone, and in dark mode.
    browser.set_window_size(390, 844)
    wide = browser.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    expect(wide <= 0, f"{wide} pixels too wide for a phone")
    broken = browser.execute_script("return [...document.querySelectorAll('#processes .name')].filter(e => e.getClientRects().length > 1).map(e => e.textContent)")
    expect(not broken, f"broken on a phone: {broken}")
    cut = browser.execute_script("""
      return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)""")
    expect(not cut and "Up for" in browser.execute_script("return getComputedStyle(document.querySelector('#processes td:last-child'), '::before').content"), f"cut off on a phone: {cut}")
    browser.save_screenshot(f"{folder}/console-phone.png")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    browser.set_window_size(1280, 1400)
    dark = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    expect(dark == "rgb(23, 22, 19)", f"the background in the dark is {dark}")
    browser.save_screenshot(f"{folder}/console-dark.png")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    # The caller parks a stream. The console shows it and retries it.
    print("ready to park", flush=True)
    sys.stdin.readline()
    eventually("the parked stream is shown", lambda: len(all_of("#parked tbody tr")) == 1 and "1 parked stream" in text("state"))
    expect("order-refused" in text("parked"), text("parked"))
    lines = browser.execute_script("""
      return [...document.querySelectorAll('#parked td:nth-child(3), #parked button')].map(cell => {
        const range = document.createRange();
        range.selectNodeContents(cell);
        return new Set([...range.getClientRects()].map(box => box.top)).size;
      })""")
    expect(lines == [1, 1], f"the event's name and Retry take {lines} lines")
    browser.save_screenshot(f"{folder}/console-parked.png")
    print("parked", flush=True)
    sys.stdin.readline()
    browser.find_element(By.CSS_SELECTOR, "#parked button").click()
    eventually("it is tried again", lambda: "is tried again" in text("parked-answer"))
    eventually("it waits no more", lambda: text("parked-count") == "0" and text("state") == "all is well")
    print("retried", flush=True)
    sys.stdin.readline()
    eventually("a lost connection is said", lambda: "connection lost" in text("state"))
finally:
    browser.quit()
finish()
